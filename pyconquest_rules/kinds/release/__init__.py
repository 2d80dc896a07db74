"""`[release.NAME]`: files that are handed over together, the lock that freezes their selection, and their evidence."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pyconquest_rules.kinds.kind import ActionKind, Planning, Running

if TYPE_CHECKING:
    from pyconquest_rules.engine.runner import Executor
    from pyconquest_rules.errors import Problem
    from pyconquest_rules.kinds.release.rule import Release
    from pyconquest_rules.rules import positions
    from pyconquest_rules.rules.kinds import Seen
    from pyconquest_rules.steps import Request


class ReleaseKind(ActionKind["Release"]):
    """`[release.NAME]`."""

    name = "release"
    outcomes = ("written", "adopted")
    summary = "Files that are handed over together."

    @property
    def model(self) -> type["Release"]:
        """Return the class of its tables."""
        from pyconquest_rules.kinds.release.rule import Release

        return Release

    def check(self, table: "Release", place: "positions.Path", seen: "Seen") -> "Iterator[Problem]":
        """Yield actions that make no files or make them outside the root, and invalid paths."""
        from pyconquest_rules.kinds.release.rule import check

        return check(table, place, seen)

    def bound(self, table: "Release", base: Path, params: Mapping[str, str]) -> "Release":
        """Return the release with the values of variables in its texts."""
        from pyconquest_rules.kinds.release.rule import bound

        return bound(table, params)

    def prunes(self, action: "Release") -> bool:
        """Return that no evidence is removed: it stays when the release changes, and is replaced."""
        return False

    def requests(self, name: str, action: "Release", planning: Planning) -> "Iterator[Request]":
        """Request the files of the evidence, if the release is locked."""
        from pyconquest_rules.kinds.release.requests import about, requested, requests

        planning.plan.add_action(name, requested(), action.fingerprint)
        seen = nullcontext((planning.sets, planning.ledger))
        return requests(name, about(name, action, planning.rules, lambda: seen), planning.plan, planning.emit)

    def executor(self, name: str, action: "Release", running: Running) -> "Executor":
        """Return what writes the evidence."""
        from pyconquest_rules.kinds.release.do import Releasing, opening
        from pyconquest_rules.kinds.release.requests import about

        return Releasing(about(name, action, running.rules, partial(opening, running)))
