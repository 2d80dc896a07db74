"""The database of the index: its tables, its rows, whose it is, and whether it is intact."""
