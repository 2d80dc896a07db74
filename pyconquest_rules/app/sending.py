"""How the actions that send do it, and how their nodes are asked for what they took."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial

from pyconquest_rules.app.opening import opened
from pyconquest_rules.kinds.send.confirming import Asking, Known, committing, finding
from pyconquest_rules.kinds.send.do import Sending
from pyconquest_rules.kinds.send.rule import Confirm, Send, Transcode
from pyconquest_rules.rules.rules import Rules


def sending(rules: Rules, send: Send, clock: Callable[[], datetime]) -> Sending:
    """How an action sends; `clock` is the time that its window is of."""
    return Sending(
        rules.nodes[send.node],
        send.associations,
        send.max_rate,
        _asking(rules, send),
        send.window,
        lambda: send.is_open(clock().time()),
        send.transcode is Transcode.VR,
    )


def _asking(rules: Rules, send: Send) -> Asking | None:
    """How the node of an action is asked for what it took; None where the action does not want to know."""
    node = rules.nodes[send.node]

    def look(uids: list[str]) -> list[Known]:
        with opened(rules) as sets:
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
