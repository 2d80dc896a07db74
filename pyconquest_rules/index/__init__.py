"""The SQLite index in Conquest's layout: of use without any rules file."""
