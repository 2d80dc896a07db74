"""Everything that may go wrong, in large numbers. A part of it is run with all tests, the whole by `make torture`."""
