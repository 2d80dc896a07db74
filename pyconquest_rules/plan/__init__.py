"""What would be done, and why. Pure but for the facts that are handed in; nothing here writes but the plan itself."""
