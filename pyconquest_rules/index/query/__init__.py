"""Reading the index: SQL that cannot write, sets, and rows in files."""
