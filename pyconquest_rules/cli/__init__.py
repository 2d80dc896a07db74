"""The command line: one file a command, thin: options → use case → renderer → exit code."""

from pyconquest_rules.cli.main import main

__all__ = ["main"]
