"""What the ledger says of instances at nodes: which were sent and confirmed, which failed, and how many were retrieved."""

from collections.abc import Iterable, Iterator, Mapping

from pyconquest_rules.engine.recorded import Recorded, now
from pyconquest_rules.steps import RetrieveInstance, Step

# The number of rows of one query.
AT_ONCE = 500

SENT = """
INSERT OR REPLACE INTO done (kind, target, member, action, SOPInstanceUID, delivered_uid, source, source_size, source_mtime_ns,
    fingerprint, status, confirmed, run, at) VALUES ('instance', ?1, ?2, ?3, ?4, ?2, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11)
"""

NOT_ARRIVED = "INSERT OR REPLACE INTO failed VALUES ('arrival', ?1, ?2, ?3, ?2, ?4, ?5, ?6)"
# Without a run, that of an earlier failure stays.
NOT_SENT = """
INSERT OR REPLACE INTO failed VALUES ('instance', ?1, ?2, ?3, ?4, ?5,
    coalesce(?6, (SELECT run FROM failed WHERE kind = 'instance' AND target = ?1 AND member = ?2), 0), ?7)
"""
LOST = "DELETE FROM done WHERE kind = 'instance' AND target = ? AND member = ? RETURNING SOPInstanceUID"
SUCCEEDED = "DELETE FROM failed WHERE kind = ? AND target = ? AND member = ?"

BROUGHT = """
INSERT INTO brought VALUES (?1, ?2, ?3) ON CONFLICT (action) DO UPDATE SET instances = instances + ?2, last = ?3
"""


class Instances(Recorded):
    """Instances that were sent to nodes or retrieved from them, as far as the index does not know them."""

    def record_sent(self, outcomes: Iterable[tuple[Step, int | None, str | None, bool]], run: int) -> None:
        """Record the outcomes of instances that were sent: step, status, message, and whether it was tried.

        The status is that of the node if it has the instance, else None. The run of an instance that failed is the last one in
        which it was tried, 0 if it never was.
        """
        at = now()
        with self.transaction() as connection:
            for step, status, message, tried in outcomes:
                operation, node = step.operation, step.operation.destination
                what = (node, step.delivered_uid, step.action, step.SOPInstanceUID)
                if status is None:
                    connection.execute(NOT_SENT, (*what, message, run if tried else None, at))
                    continue
                connection.execute(SENT, (*what, operation.source, *operation.stamp, step.fingerprint, status, run, at))
                connection.execute(SUCCEEDED, ("instance", *what[:2]))

    def failed_at(self, node: str) -> dict[str, int]:
        """Return the SOPInstanceUIDs of instances that a node did not accept, with the last run in which each was tried."""
        query = "SELECT SOPInstanceUID, run FROM failed WHERE kind = 'instance' AND target = ? AND run > 0"
        return dict(self.connection.execute(query, (node,)).fetchall())

    def record_retrieved(self, action: str, outcomes: Iterable[tuple[Step, str | None]], run: int) -> None:
        """Record the outcomes of a retrieval: each step with None or why it failed.

        The index knows which instances came; here is only how many an action has retrieved.
        """
        at, came, failed = now(), [], []
        for step, message in outcomes:
            match step.operation:
                case RetrieveInstance(node):
                    if message is None:
                        came.append(("arrival", node, step.SOPInstanceUID))
                    else:
                        failed.append((node, step.SOPInstanceUID, action, message, run, at))
        with self.transaction() as connection:
            connection.executemany(SUCCEEDED, came)
            connection.executemany(NOT_ARRIVED, failed)
            if came:
                connection.execute(BROUGHT, (action, len(came), at))

    def unconfirmed(self, node: str, action: str, run: int) -> Iterator[tuple[str, str]]:
        """Yield what an action sent to a node in a run and the node has not confirmed: the delivered and the indexed UID."""
        query = (
            "SELECT member, SOPInstanceUID FROM done WHERE kind = 'instance' AND target = ? AND action = ? AND run = ?"
            f" AND NOT confirmed AND member > ? ORDER BY member LIMIT {AT_ONCE}"
        )
        last = ""
        # No cursor stays open: between two instances others may be confirmed.
        while members := self.connection.execute(query, (node, action, run, last)).fetchall():
            yield from members
            last = members[-1][0]

    def confirm(self, node: str, uids: Iterable[str]) -> None:
        """Record that a node has instances; `uids` are those that were delivered."""
        with self.transaction() as connection:
            connection.executemany(
                "UPDATE done SET confirmed = 1 WHERE kind = 'instance' AND target = ? AND member = ?",
                ((node, uid) for uid in uids),
            )

    def lose(self, node: str, action: str, messages: Mapping[str, str], run: int) -> None:
        """Record that a node lacks instances that it had accepted; `messages` are by the UIDs that were delivered."""
        at = now()
        with self.transaction() as connection:
            for uid, message in messages.items():
                for (own,) in connection.execute(LOST, (node, uid)).fetchall():
                    connection.execute(NOT_SENT, (node, uid, action, own, message, run, at))
