"""Measure the program and its peers side by side: `make bench`, or `python -m bench header copy`. See docs/performance.md."""
