"""The rows of the table. Each module prepares, runs and checks its contests, and has their targets."""
