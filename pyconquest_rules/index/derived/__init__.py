"""What the index works out from instances beyond single elements: geometry, references, ROIs, contradictions."""
