"""Old scripts go on: the class of the PyPI package `pyconquest` 0.1.12, on top of our index. See docs/migrate.md."""
