"""`[convert.NAME]`: run a command for each group of instances, and keep the files that it makes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pyconquest_rules.kinds.kind import ActionKind, Planning, Running

if TYPE_CHECKING:
    from pyconquest_rules.engine.runner import Executor
    from pyconquest_rules.errors import Problem
    from pyconquest_rules.kinds.convert.rule import Convert
    from pyconquest_rules.rules import positions
    from pyconquest_rules.rules.kinds import Seen
    from pyconquest_rules.steps import Request


class ConvertKind(ActionKind["Convert"]):
    """`[convert.NAME]`."""

    name = "convert"
    outcomes = ("converted", "adopted", "removed", "released")
    summary = "Files that commands make of the groups of a set."

    @property
    def model(self) -> type["Convert"]:
        """The class of its tables."""
        from pyconquest_rules.kinds.convert.rule import Convert

        return Convert

    def check(self, table: "Convert", place: "positions.Path", seen: "Seen") -> "Iterator[Problem]":
        """Yield invalid names, and values that differ between the instances of a group."""
        from pyconquest_rules.kinds.convert.rule import check

        return check(table, place, seen)

    def bound(self, table: "Convert", base: Path, params: Mapping[str, str]) -> "Convert":
        """Return the table with the values of variables in the environment of its command."""
        from pyconquest_rules.kinds.convert.rule import bound

        return bound(table, params)

    def selects(self, action: "Convert") -> str:
        """Return the set whose instances are converted."""
        return action.select

    def prunes(self, action: "Convert") -> bool:
        """Return whether files are removed whose group left the set."""
        return action.prune

    def command(self, action: "Convert") -> tuple[str, ...]:
        """Return the command."""
        return action.command

    def requests(self, name: str, action: "Convert", planning: Planning) -> "Iterator[Request]":
        """Request a file for every output of every group."""
        from pyconquest_rules.kinds.convert.planning import requests

        return requests(name, action, planning)

    def executor(self, name: str, action: "Convert", running: Running) -> "Executor":
        """Return what carries out the steps."""
        from pyconquest_rules.kinds.convert.do import Converting

        return Converting(running.rules.outputs, running.rules.base, action.jobs)
