"""`[archive.NAME]`: pack the files of a set into zip or tar files, one for each path that a template renders."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyconquest_rules.kinds.kind import ActionKind, Planning, Running

if TYPE_CHECKING:
    from pyconquest_rules.engine.runner import Executor
    from pyconquest_rules.errors import Problem
    from pyconquest_rules.kinds.archive.rule import Archive
    from pyconquest_rules.rules.kinds import Seen
    from pyconquest_rules.rules.positions import Path
    from pyconquest_rules.steps import Request


class ArchiveKind(ActionKind["Archive"]):
    """`[archive.NAME]`."""

    name = "archive"
    outcomes = ("packed", "adopted", "removed", "released")
    summary = "Archives of the files of a set."

    @property
    def model(self) -> type["Archive"]:
        """The class of its tables."""
        from pyconquest_rules.kinds.archive.rule import Archive

        return Archive

    def check(self, table: "Archive", place: "Path", seen: "Seen") -> "Iterator[Problem]":
        """Yield invalid names, and keys that exclude each other."""
        from pyconquest_rules.kinds.archive.rule import check

        return check(table, place, seen.places)

    def selects(self, action: "Archive") -> str:
        """Return the set whose files are packed."""
        return action.select

    def prunes(self, action: "Archive") -> bool:
        """Return whether archives are removed that no instance has the path of."""
        return action.prune

    def requests(self, name: str, action: "Archive", planning: Planning) -> "Iterator[Request]":
        """Request an archive for every path that the template renders."""
        from pyconquest_rules.engine.requested import Files
        from pyconquest_rules.kinds.archive.requests import requests
        from pyconquest_rules.steps import Mode

        pruned = planning.allow_prune if action.prune else None
        files = Files(Mode.COPY, action.on_conflict, action.on_changed, pruned)
        planning.plan.add_action(name, files, action.fingerprint)
        return requests(name, action, planning)

    def executor(self, name: str, action: "Archive", running: Running) -> "Executor":
        """Return what carries out the steps."""
        from pyconquest_rules.engine.putting import Putting

        return Putting(running.rules.outputs, "packed")
