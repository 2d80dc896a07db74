"""`[release.NAME]`: files that are handed over together, and the lock that freezes their selection."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pyconquest_rules.rules.kinds import TableKind

if TYPE_CHECKING:
    from pyconquest_rules.errors import Problem
    from pyconquest_rules.kinds.release.rule import Release
    from pyconquest_rules.rules import positions
    from pyconquest_rules.rules.kinds import Seen


class ReleaseKind(TableKind["Release"]):
    """`[release.NAME]`."""

    name = "release"
    summary = "Files that are handed over together."
    acts = False

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
