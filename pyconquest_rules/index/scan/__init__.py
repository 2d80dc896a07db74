"""Bringing the index up to date: walk the sources, compare, read what changed."""
