"""How a received instance comes into a source: checked, stored durably, indexed, and only then acknowledged."""
