"""`[retrieve.NAME]`: retrieve instances from a node into a source."""

from collections.abc import Iterator, Mapping
from pathlib import Path as File
from typing import TYPE_CHECKING

from pyconquest_rules.kinds.kind import ActionKind, Planning, Running

if TYPE_CHECKING:
    from pyconquest_rules.engine.runner import Executor
    from pyconquest_rules.errors import Problem
    from pyconquest_rules.kinds.retrieve.rule import Retrieve
    from pyconquest_rules.rules.kinds import Seen
    from pyconquest_rules.rules.positions import Path
    from pyconquest_rules.steps import Request


class RetrieveKind(ActionKind["Retrieve"]):
    """`[retrieve.NAME]`."""

    name = "retrieve"
    outcomes = ("retrieved",)
    summary = "What to retrieve from nodes."
    remote = True

    @property
    def model(self) -> type["Retrieve"]:
        """Return the class of its tables."""
        from pyconquest_rules.kinds.retrieve.rule import Retrieve

        return Retrieve

    def check(self, table: "Retrieve", place: "Path", seen: "Seen") -> "Iterator[Problem]":
        """Yield the errors of the query and of the listener."""
        from pyconquest_rules.kinds.retrieve.rule import check

        return check(table, place, seen)

    def bound(self, table: "Retrieve", base: File, params: Mapping[str, str]) -> "Retrieve":
        """Return the action with the values of variables in `match`."""
        from pyconquest_rules.kinds.retrieve.rule import bound

        return bound(table, params)

    def requests(self, name: str, action: "Retrieve", planning: Planning) -> "Iterator[Request]":
        """Query the node, and request the instances that the index lacks."""
        from pyconquest_rules.engine.requested import FromNode
        from pyconquest_rules.kinds.retrieve.asking import asked

        node = planning.rules.nodes[action.node].identity
        planning.plan.add_action(name, FromNode(node, action.into), action.fingerprint)
        return asked(name, action, planning)

    def executor(self, name: str, action: "Retrieve", running: Running) -> "Executor":
        """Return the executor."""
        from pyconquest_rules.kinds.retrieve.retrieving import retrieving

        return retrieving(action, running)
