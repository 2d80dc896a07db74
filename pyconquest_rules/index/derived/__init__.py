"""Data that the index derives from instances: geometry, references, ROIs, contradictions."""
