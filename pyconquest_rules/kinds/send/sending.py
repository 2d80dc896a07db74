"""How the actions that send do it, and how their nodes are asked for what they took."""

import json
from functools import partial
from typing import TYPE_CHECKING

from pyconquest_rules.kinds.send.confirming import Asking, Known, committing, finding
from pyconquest_rules.kinds.send.do import Sending
from pyconquest_rules.kinds.send.rule import Confirm, Send, Transcode

if TYPE_CHECKING:
    from pyconquest_rules.kinds.kind import Running


def sending(send: Send, running: "Running") -> Sending:
    """Return how an action sends."""
    return Sending(
        running.rules.nodes[send.node],
        send.associations,
        send.max_rate,
        _asking(send, running),
        send.window,
        lambda: send.is_open(running.clock().time()),
        send.transcode is Transcode.VR,
    )


def _asking(send: Send, running: "Running") -> Asking | None:
    """How the node of an action is asked for what it took; None where the action does not want to know."""
    node = running.rules.nodes[send.node]

    def look(uids: list[str]) -> list[Known]:
        with running.opened() as sets:
            rows = sets.connection.execute(
                "SELECT StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, SOPClassUID FROM images"
                " WHERE SOPInstanceUID IN (SELECT value FROM json_each(?)) ORDER BY 1, 2",
                (json.dumps(uids),),
            )
            return [*map(Known._make, rows)]

    match send.confirm:
        case Confirm.STATUS:
            return None
        case Confirm.C_FIND:
            return partial(finding, node, look)
        case Confirm.STORAGE_COMMITMENT:
            return partial(committing, node, look)
