"""`[send.NAME]`: files of a set go to a node."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyconquest_rules.kinds.kind import ActionKind, Planning, Running

if TYPE_CHECKING:
    from pyconquest_rules.engine.runner import Executor
    from pyconquest_rules.kinds.send.rule import Send
    from pyconquest_rules.steps import Request


class SendKind(ActionKind["Send"]):
    """`[send.NAME]`."""

    name = "send"
    summary = "What is sent to nodes."

    @property
    def model(self) -> type["Send"]:
        """The class of its tables."""
        from pyconquest_rules.kinds.send.rule import Send

        return Send

    def selects(self, action: "Send") -> str:
        """Return the set whose instances are sent."""
        return action.select

    def requests(self, name: str, action: "Send", planning: Planning) -> "Iterator[Request]":
        """Request that the node has every instance of the set."""
        from pyconquest_rules.kinds.send.rule import Confirm, send_requests

        node = planning.rules.nodes[action.node].identity
        planning.plan.add_send(name, node, action.fingerprint, confirm=action.confirm is not Confirm.STATUS)
        return send_requests(planning.sets.instances(action.select, ()), planning.ledger.failed_at(node))

    def executor(self, name: str, action: "Send", running: Running) -> "Executor":
        """Return what sends; with all that the network needs."""
        from pyconquest_rules.kinds.send.sending import sending

        return sending(action, running)
