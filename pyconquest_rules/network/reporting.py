"""Reports of storage commitment to the nodes that asked for it, each on an association of its own (PS3.4 J.3.3)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Condition, Thread

from pyconquest_rules.network.association import Context, requested
from pyconquest_rules.network.committing import Archive, Asked, refused, report
from pyconquest_rules.network.dimse import UNCOMPRESSED, performed, refusal
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.storing import STORAGE_COMMITMENT

# A report that does not go through is tried again after so many seconds each.
DELAYS = (2.0, 10.0, 60.0, 300.0)
MOST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class _Due:
    """A report that is to go out: to whom, about what, not before when, and how often it was tried."""

    node: Node
    asked: Asked
    address: str
    at: float
    tries: int = 0


class Reports:
    """Sends reports, one after another. `failed` gets the AE title, the address and the reason of one that is given up.

    What waits when the program ends is lost, as PS3.4 J allows: the peer asks again.
    """

    def __init__(self, nodes: Sequence[Node], archive: Archive, failed: Callable[[str, str, str], None]) -> None:
        self.nodes, self.archive, self.failed = nodes, archive, failed
        self._due: list[_Due] = []
        self._changed, self._ended = Condition(), False
        self._thread = Thread(target=self._run, name="commitments", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Wait up to `grace` seconds for the report that is on its way; the others are not sent."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(grace)

    def node(self, ae_title: str, address: str) -> Node | None:
        """Return the node of an AE title, that at the address if there are several; None if there is none."""
        named = [node for node in self.nodes if node.ae_title.strip() == ae_title]
        return next((node for node in named if node.host == address), next(iter(named), None))

    @property
    def full(self) -> bool:
        """Whether so many reports wait that no more are taken."""
        return len(self._due) >= MOST_WAITING

    def add(self, node: Node, asked: Asked, address: str) -> None:
        """Send a report as soon as may be."""
        with self._changed:
            self._due.append(_Due(node, asked, address, time.monotonic()))
            self._changed.notify_all()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            try:
                send(due.node, due.asked, self.archive)
            except NodeError as error:
                if due.tries < len(DELAYS) and error.retry:
                    later = replace(due, at=time.monotonic() + DELAYS[due.tries], tries=due.tries + 1)
                    with self._changed:
                        self._due.append(later)
                else:
                    self.failed(due.node.ae_title, due.address, f"its report was not sent: {error}")

    def _next(self) -> _Due | None:
        """The next report once it is due; None at the end."""
        with self._changed:
            while not self._ended:
                first = min(self._due, key=lambda due: due.at, default=None)
                wait = None if first is None else first.at - time.monotonic()
                if first is not None and wait is not None and wait <= 0:
                    self._due.remove(first)
                    return first
                self._changed.wait(wait)
        return None


def send(node: Node, asked: Asked, archive: Archive) -> None:
    """Tell a node what is committed to. Raises NodeError if it does not take that."""
    with requested(node, [Context(STORAGE_COMMITMENT, UNCOMPRESSED)], scp_of=[STORAGE_COMMITMENT]) as association:
        ((_, syntax), context_id), *_ = association.contexts.items()
        # Looked at as late as may be: what is told holds for this moment.
        command, data_set = report(asked, refused(archive, asked), syntax)
        for answer in performed(association, context_id, command, data_set):
            if answer.status:
                raise refusal(node, "N-EVENT-REPORT", answer.status, {})
