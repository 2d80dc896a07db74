"""Bring a received instance into a source: check it, store it durably, index it, then acknowledge it."""
