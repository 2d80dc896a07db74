"""Send reports of storage commitment to nodes, each on an association of its own (PS3.4 J.3.3)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Condition, Thread
from typing import Protocol

from pyconquest_rules.network.association import Context, requested
from pyconquest_rules.network.commitment import PUSH_MODEL, Request, event_report
from pyconquest_rules.network.dimse import UNCOMPRESSED, performed, refusal
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.statuses import Status

DELAYS = (2.0, 10.0, 60.0, 300.0)
"""Seconds before each retry of a report that could not be sent."""
MOST_WAITING = 1000


class Archive(Protocol):
    """The store of instances. Called from the threads of all associations at once."""

    def holds(self, sop_class: str, sop_instance: str) -> int:
        """Return 0 if an instance is durable and indexed, else its Failure Reason (PS3.3 C.14.1.1). Raises OSError."""


def refused(archive: Archive, request: Request) -> dict[tuple[str, str], int]:
    """Return the instances of a request that are not committed, each with its Failure Reason."""
    return {instance: reason for instance in request.instances if (reason := _reason(archive, *instance))}


def _reason(archive: Archive, sop_class: str, sop_instance: str) -> int:
    try:
        return archive.holds(sop_class, sop_instance)
    except Exception:  # noqa: BLE001 - an instance that cannot be checked is not committed
        return Status.PROCESSING_FAILURE


@dataclass(frozen=True, slots=True)
class _Due:
    """A report to send: its node, its request, the earliest time, and the number of attempts so far."""

    node: Node
    request: Request
    address: str
    at: float
    tries: int = 0


class Reports:
    """Sends reports, one after another. `failed` is called with the AE title, the address and the reason of one that is given up.

    Reports that still wait at the end of the program are lost, as PS3.4 J allows: the peer requests again.
    """

    def __init__(self, nodes: Sequence[Node], archive: Archive, failed: Callable[[str, str, str], None]) -> None:
        self.nodes, self.archive, self.failed = nodes, archive, failed
        self._due: list[_Due] = []
        self._changed, self._ended = Condition(), False
        self._thread = Thread(target=self._run, name="commitments", daemon=True)

    def start(self) -> None:
        """Start to send."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Wait up to `grace` seconds for the report that is being sent. The others are not sent."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(grace)

    def node(self, ae_title: str, address: str) -> Node | None:
        """Return the node of an AE title, or None. If several have it, the address decides."""
        named = [node for node in self.nodes if node.ae_title.strip() == ae_title]
        return next((node for node in named if node.host == address), next(iter(named), None))

    @property
    def full(self) -> bool:
        """Return whether the queue is full."""
        return len(self._due) >= MOST_WAITING

    def add(self, node: Node, request: Request, address: str) -> None:
        """Queue a report."""
        with self._changed:
            self._due.append(_Due(node, request, address, time.monotonic()))
            self._changed.notify_all()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            try:
                send(due.node, due.request, self.archive)
            except NodeError as error:
                if due.tries < len(DELAYS) and error.retry:
                    later = replace(due, at=time.monotonic() + DELAYS[due.tries], tries=due.tries + 1)
                    with self._changed:
                        self._due.append(later)
                else:
                    self.failed(due.node.ae_title, due.address, f"its report was not sent: {error}")

    def _next(self) -> _Due | None:
        """Wait for the next report that is due. Return None after `stop`."""
        with self._changed:
            while not self._ended:
                first = min(self._due, key=lambda due: due.at, default=None)
                wait = None if first is None else first.at - time.monotonic()
                if first is not None and wait is not None and wait <= 0:
                    self._due.remove(first)
                    return first
                self._changed.wait(wait)
        return None


def send(node: Node, request: Request, archive: Archive) -> None:
    """Send a report to a node. Raises NodeError if the node cannot be reached or refuses it."""
    with requested(node, [Context(PUSH_MODEL, UNCOMPRESSED)], scp_of=[PUSH_MODEL]) as association:
        ((_, syntax), context_id), *_ = association.contexts.items()
        # The archive is checked as late as possible, because a report holds for the moment when it is sent.
        command, data_set = event_report(request, refused(archive, request), syntax)
        for answer in performed(association, context_id, command, data_set):
            if answer.status:
                raise refusal(node, "N-EVENT-REPORT", answer.status, {})
