"""Print the answers of the use cases, as text or as JSON lines. Nothing is decided here."""
