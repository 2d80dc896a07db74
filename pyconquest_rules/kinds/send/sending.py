"""Make the executor of a send from its table of the rules file."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pyconquest_rules.content import Recipe
from pyconquest_rules.kinds.send.confirming import Asking, Known, Members, committing, finding
from pyconquest_rules.kinds.send.do import Sending
from pyconquest_rules.kinds.send.rule import Confirm, Send, Transcode

if TYPE_CHECKING:
    from pyconquest_rules.kinds.kind import Running


def sending(send: Send, running: "Running", recipe: Recipe | None = None) -> Sending:
    """Return how an action sends; `recipe` makes what it delivers, if not the files as they are."""
    return Sending(
        running.rules.nodes[send.node],
        send.associations,
        send.max_rate,
        _asking(send, running, recipe.uid if recipe else str),
        send.window,
        lambda: send.is_open(running.clock().time()),
        send.transcode is Transcode.VR,
    )


def _asking(send: Send, running: "Running", uid: Callable[[str], str]) -> Asking | None:
    """Return how the node of an action is asked for what it accepted; None if the action does not need to know.

    `uid` returns the UID that is delivered in place of another.
    """
    node = running.rules.nodes[send.node]

    def look(members: Members) -> list[Known]:
        with running.opened() as sets:
            rows = sets.known(members.values(), *Known._fields)
            return [Known(uid(study), uid(series), uid(instance), sop_class) for study, series, instance, sop_class in rows]

    match send.confirm:
        case Confirm.STATUS:
            return None
        case Confirm.C_FIND:
            return partial(finding, node, look)
        case Confirm.STORAGE_COMMITMENT:
            return partial(committing, node, look)
