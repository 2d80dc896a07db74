"""Fixtures of the network tests."""

from tests.network.listeners import listen

__all__ = ["listen"]
