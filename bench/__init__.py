"""Measures the program side by side with its peers: `make bench`, or `python -m bench header copy`. See docs/performance.md."""
