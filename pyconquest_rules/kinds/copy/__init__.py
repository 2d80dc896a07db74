"""`[copy.NAME]`: copy the files of a set to destinations that a template prints."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyconquest_rules.kinds.kind import ActionKind, Planning, Running

if TYPE_CHECKING:
    from pyconquest_rules.engine.runner import Executor
    from pyconquest_rules.errors import Problem
    from pyconquest_rules.kinds.copy.rule import Copy
    from pyconquest_rules.rules.kinds import Seen
    from pyconquest_rules.rules.positions import Path
    from pyconquest_rules.steps import Request


class CopyKind(ActionKind["Copy"]):
    """`[copy.NAME]`."""

    name = "copy"
    outcomes = ("copied", "adopted", "removed", "released")
    summary = "Copies of the files of a set."

    @property
    def model(self) -> type["Copy"]:
        """The class of its tables."""
        from pyconquest_rules.kinds.copy.rule import Copy

        return Copy

    def check(self, table: "Copy", place: "Path", seen: "Seen") -> "Iterator[Problem]":
        """Yield keys that exclude each other."""
        from pyconquest_rules.kinds.copy.rule import check

        return check(table, place, seen.places)

    def selects(self, action: "Copy") -> str:
        """Return the set whose files are copied."""
        return action.select

    def prunes(self, action: "Copy") -> bool:
        """Return whether files are removed that the set no longer has."""
        return action.prune

    def requests(self, name: str, action: "Copy", planning: Planning) -> "Iterator[Request]":
        """Request a file for every row of the set."""
        from pyconquest_rules.engine.requested import Files
        from pyconquest_rules.kinds.copy.rule import requests

        pruned = planning.allow_prune if action.prune else None
        files = Files(action.mode, action.on_conflict, action.on_changed, pruned)
        planning.plan.add_action(name, files, action.fingerprint)
        template = planning.rules.templates[name]
        instances = planning.sets.instances(action.select, template.columns)
        return requests(action.mode, template, planning.rules.outputs, instances)

    def executor(self, name: str, action: "Copy", running: Running) -> "Executor":
        """Return what carries out the steps."""
        from pyconquest_rules.engine.putting import Putting

        return Putting(running.rules.outputs, "copied")
