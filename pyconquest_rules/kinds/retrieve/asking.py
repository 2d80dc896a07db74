"""Query a node for a plan: which instances it has that the index lacks."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING

from pyconquest_rules.dicom import Level, unpadded
from pyconquest_rules.events import Noted, StepFailed
from pyconquest_rules.index.store.decisions import DecisionsFile
from pyconquest_rules.kinds.retrieve import matching
from pyconquest_rules.kinds.retrieve.rule import Retrieve, retrieve_requests
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.steps import Reason, Request

if TYPE_CHECKING:
    from pyconquest_rules.kinds.kind import Planning


def asked(name: str, retrieve: Retrieve, planning: "Planning") -> Iterator[Request]:
    """Yield the instances of a node. If the query fails, yield one request that is blocked, so that other actions continue."""
    from pyconquest_rules.network.query import find

    rules, emit = planning.rules, planning.emit

    def known(uids: list[str]) -> Iterator[str]:
        return (uid for (uid,) in planning.sets.known(uids, "SOPInstanceUID"))

    def kept(match: Mapping[str, str]) -> bool:
        forgotten = decisions.forget(unpadded(match.get(level.key)) for level in Level)
        return not (forgotten and next(left_out))

    decisions, left_out, skipped = DecisionsFile(rules.base).read(), count(1), count(1)
    keys, node, match = ["SOPClassUID", "PatientID"], rules.nodes[retrieve.node], matching.on(retrieve.match, rules.today)
    try:
        with closing(find(node, Level.IMAGE, match, keys, skipped=lambda: next(skipped))) as matches:
            yield from retrieve_requests(filter(kept, matches), known)
        if number := next(skipped) - 1:
            emit(Noted(name, skipped_words(node, number)))
        if number := next(left_out) - 1:
            emit(Noted(name, f"{number:,} matches of the node are forgotten (decisions.txt), and not retrieved"))
    except NodeError as error:
        emit(StepFailed(name, "", str(error)))
        yield Request("", b"", 0, 0, "", "", "", Reason.NODE_FAILED, str(error))


def skipped_words(node: Node, number: int) -> str:
    """Return the warning about skipped matches of a node."""
    what = f"{number} matches were" if number != 1 else "1 match was"
    return f"node {node.name} ({node.identity}): {what} skipped: unreadable, or without a valid UID"
