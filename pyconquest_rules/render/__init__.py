"""Showing what the use cases give: to people, or as JSON lines. Nothing is decided here."""
