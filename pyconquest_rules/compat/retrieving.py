"""Query a node, and retrieve instances that the index lacks."""

from collections.abc import Collection, Sequence
from contextlib import closing
from operator import itemgetter

from pyconquest_rules.compat.connection import Connection
from pyconquest_rules.compat.indexing import SOURCE
from pyconquest_rules.compat.nodes import step_of
from pyconquest_rules.dicom import Level
from pyconquest_rules.kinds.retrieve.do import Identity
from pyconquest_rules.kinds.retrieve.identities import identities
from pyconquest_rules.kinds.retrieve.rule import retrieve_requests
from pyconquest_rules.network.keys import UNIQUE
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.query import find
from pyconquest_rules.steps import RetrieveInstance, Step


class ScriptIndex:
    """The index of a script, with the queries of a retrieval."""

    def __init__(self, script: Connection) -> None:
        self._script = script

    def sizes(self, uids: Collection[str]) -> dict[str, int]:
        """Return the file sizes of the instances that are in the index, by SOPInstanceUID."""
        query = "SELECT FileSize FROM images WHERE SOPInstanceUID = ?"
        found = ((uid, self._script.conn_pacs.execute(query, (uid,)).fetchone()) for uid in uids)
        return {uid: int(row[0]) for uid, row in found if row}

    def identities(self, uids: Collection[str]) -> dict[str, Identity]:
        """Return the identities of instances, from those of their files that can be read."""
        return identities(self._script.conn_pacs, uids)

    def has_series(self, uid: str) -> bool:
        """Return whether the index has an instance of a series."""
        query = "SELECT 1 FROM images WHERE SeriesInstanceUID = ?"
        return self._script.conn_pacs.execute(query, (uid,)).fetchone() is not None


def matches(node: Node, level: Level, match: dict[str, str], return_keys: Sequence[str]) -> list[dict[str, str]]:
    """Query a node with one relational query, as pyconquest does, else level by level.

    The second query runs if the node refuses the first, or leaves out UIDs. Raises NodeError if it fails.
    """
    skipped: list[None] = []
    try:
        with closing(find(node, level, match, return_keys, relational=True, skipped=lambda: skipped.append(None))) as found:
            complete = [*found]
        if not skipped and all(each[keyword] for each in complete for keyword in UNIQUE[level]):
            return complete
    except NodeError as error:
        if error.retry:
            raise
    with closing(find(node, level, match, return_keys)) as found:
        return [*found]


def missing(index: ScriptIndex, node: Node, match: dict[str, str]) -> list[Step]:
    """Return a step for each matching instance of a node that the index lacks. Raises NodeError."""
    found = sorted(matches(node, Level.IMAGE, match, ["SOPClassUID"]), key=itemgetter(*UNIQUE[Level.IMAGE][:-1]))
    requested = [each for each in retrieve_requests(found, index.sizes) if each.reason is None]
    return [
        step_of(number, each.SOPInstanceUID, RetrieveInstance(node.identity, each.series, SOURCE))
        for number, each in enumerate(requested)
        if each.series is not None
    ]
