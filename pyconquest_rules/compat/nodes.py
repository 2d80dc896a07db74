"""The node that a script names, and the steps that it requests of it."""

from pyconquest_rules.network.node import Node
from pyconquest_rules.steps import Reason, RetrieveInstance, SendInstance, Status, Step


def node_at(host: str, port: int, ae_title: str | bytes, calling: str | bytes, timeout: float = 60.0) -> Node:
    """Return the node with these AE titles, called and calling, which may be ASCII bytes as in pyconquest."""
    called, own = (title.decode("ascii") if isinstance(title, bytes) else title for title in (ae_title, calling))
    return Node("of the script", called, host, port, own, acse_timeout=timeout, dimse_timeout=timeout)


def step_of(number: int, uid: str, operation: SendInstance | RetrieveInstance) -> Step:
    """Return the step for one instance."""
    return Step(number, "pyconquest", uid, Status.TODO, Reason.NEW, None, "", operation)
