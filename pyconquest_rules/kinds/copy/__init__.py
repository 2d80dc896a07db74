"""`[copy.NAME]`: files of a set go where a template says."""

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
    summary = "Copies of the files of a set."

    @property
    def model(self) -> type["Copy"]:
        """The class of its tables."""
        from pyconquest_rules.kinds.copy.rule import Copy

        return Copy

    def check(self, table: "Copy", place: "Path", seen: "Seen") -> "Iterator[Problem]":
        """Yield what cannot be together."""
        from pyconquest_rules.kinds.copy.rule import check

        return check(table, place, seen.places)

    def selects(self, action: "Copy") -> str:
        """Return the set whose files are copied."""
        return action.select

    def prunes(self, action: "Copy") -> bool:
        """Return whether files are removed once the set has lost them."""
        return action.prune

    def requests(self, name: str, action: "Copy", planning: Planning) -> "Iterator[Request]":
        """Request a file for every row of the set."""
        from pyconquest_rules.kinds.copy.rule import requests

        pruned = planning.allow_prune if action.prune else None
        what = (action.mode, action.on_conflict, action.on_changed, action.fingerprint)
        planning.plan.add_action(name, *what, pruned)
        template = planning.rules.templates[name]
        return requests(template, planning.rules.outputs, planning.sets.instances(action.select, template.columns))

    def executor(self, name: str, action: "Copy", running: Running) -> "Executor":
        """Return what puts the files."""
        from pyconquest_rules.kinds.copy.do import Copying

        return Copying(running.rules.outputs)
