"""The class of the PyPI package `pyconquest` 0.1.12 on top of our index, so that old scripts still run. See docs/migrate.md."""
