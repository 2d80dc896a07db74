"""Request storage commitment from nodes and wait for their reports (the SCU of Storage Commitment: PS3.4 J)."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from pydicom.uid import generate_uid

from pyconquest_rules.network import wire
from pyconquest_rules.network.accepting import LONGEST_REQUEST, Accepted, Offer, accept
from pyconquest_rules.network.accepting import requested as requested_by_peer
from pyconquest_rules.network.associate import Roles
from pyconquest_rules.network.association import Association, Context, negotiated
from pyconquest_rules.network.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, Report, action_request, read_report
from pyconquest_rules.network.dimse import UNCOMPRESSED, Blocks, identifier, performed, refusal
from pyconquest_rules.network.limits import LONGEST_IDENTIFIER, MOST_REQUESTS
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.receiving import Message, Messages
from pyconquest_rules.network.server import Server, plain
from pyconquest_rules.network.statuses import GENERAL, Status, is_stored
from pyconquest_rules.network.storing import VERIFICATION, response

ASSOCIATIONS, SECONDS = 16, 30
INTERVAL = 0.02
"""Seconds between two checks for a report, on the association of the request and on others."""

OFFER = Offer(
    ae_title="",
    allow=(),
    maximum_length=1 << 17,
    takes=frozenset([PUSH_MODEL, VERIFICATION]).__contains__,
    knows=lambda _, syntax: syntax in UNCOMPRESSED,
    # On associations that it requests, the node is the SCP of the push model (PS3.4 J.3.3.1). Most nodes negotiate the role.
    roles={PUSH_MODEL: Roles(scu=True, scp=True)},
)


@dataclass(slots=True)
class _Transaction:
    """A request that was sent: its node, its instances, its association if open, and its report if received."""

    node: Node
    instances: frozenset[str]
    association: Association | None = None
    report: Report | None = None

    def close(self) -> None:
        """Release the association."""
        if self.association is not None:
            self.association.wire.release(self.node.acse_timeout)
            self.association = None

    def break_off(self) -> None:
        """Abort the association."""
        if self.association is not None:
            self.association.wire.abort()
            self.association = None


class Waiting:
    """Requests commitment and waits for the reports. A context manager.

    It accepts N-EVENT-REPORT (PS3.4 J.3.3) on the associations of the requests, which stay open, and on a port of its own. Only
    nodes that got a request may connect to the port: from an address of their host, with the right AE titles. Each transaction
    is reported once.

    `ae_title` must be the calling AE title of the nodes, `host` and `port` the address that they are configured to call. Port 0
    is any free port, which `port` then has; with None there is no port. `context` is the TLS context of the port. Raises
    ListenError if it cannot listen on the port.
    """

    def __init__(
        self, ae_title: str, host: str = "127.0.0.1", port: int | None = 0, context: ssl.SSLContext | None = None
    ) -> None:
        self.ae_title = ae_title
        self._transactions: dict[str, _Transaction] = {}
        self._callers: dict[Node, frozenset[str]] = {}
        self._strangers: str | None = None
        self._changed = threading.Condition()
        self._server: Server | None = None
        if port is not None:
            self._server = Server(host, port, self._serve, admits=self._admits, tls=context, most=ASSOCIATIONS, handshake=SECONDS)
            self._server.start()
        self.port = 0 if self._server is None else self._server.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for transaction in self._transactions.values():
            transaction.close()
        if self._server is not None:
            self._server.stop(SECONDS)

    def request(self, node: Node, instances: Sequence[tuple[str, str]]) -> str:
        """Request commitment to instances from a node by N-ACTION (PS3.4 J.3.2). Return the Transaction UID, for `report`.

        `instances` are SOP Class and SOP Instance UIDs. Raises NodeError if the node cannot be reached or refuses the request.
        """
        transaction = str(generate_uid(prefix=None))  # random (PS3.5 B.2), so that nobody can guess it and forge a report
        entry = _Transaction(node, frozenset(instance for _, instance in instances))
        if self._server is not None:
            self._callers[node] = _addresses(node)
        self._transactions[transaction] = entry  # now, because the report may arrive before the response
        try:
            entry.association = negotiated(node, [Context(PUSH_MODEL, UNCOMPRESSED)])
            self._ask(entry.association, transaction, instances)
        except BaseException:
            del self._transactions[transaction]
            entry.break_off()
            raise
        return transaction

    def _ask(self, association: Association, transaction: str, instances: Sequence[tuple[str, str]]) -> None:
        """Send the N-ACTION-RQ (PS3.7 10.1.4). Raises NodeError."""
        ((context_id, (_, syntax)),) = association.accepted.items()
        command, data = action_request(transaction, instances, syntax)

        def serve(message: Message, data_set: Blocks) -> int:
            status, report = self._heard(message, data_set, syntax, association.node)
            self._hand_over(report)
            return status

        for status, *_ in performed(association, context_id, command, data, serve):
            if not is_stored(status):
                raise refusal(association.node, "N-ACTION", status, GENERAL)

    def report(self, transaction: str, seconds: float, stop: Callable[[], bool] = lambda: False) -> Report:
        """Wait for the report of a transaction that `request` began, and return it.

        Raises NodeError if there is no report within `seconds`, or once `stop` returns True.
        """
        entry, end = self._transactions[transaction], time.monotonic() + seconds
        while entry.report is None and (left := end - time.monotonic()) > 0:
            if stop():
                raise NodeError(entry.node, "did not report its commitment before the run was stopped")
            if entry.association is None or not entry.association.wire.is_ready(0):
                with self._changed:
                    self._changed.wait_for(lambda: entry.report is not None, min(left, INTERVAL))
            else:
                self._hear(entry)
        del self._transactions[transaction]
        if entry.report is None:
            entry.break_off()
            hint = "" if entry.node.commitment_port else "; if it reports on an association of its own, set commitment_port"
            if self._strangers:
                hint = f"; commitment_port rejected {self._strangers}, which is not an address of the node's host"
            raise NodeError(entry.node, f"did not report its commitment within {seconds:g} s{hint}")
        entry.close()
        return entry.report

    def _hear(self, entry: _Transaction) -> None:
        """Answer one message on the association of a request. The peer may release it and report on another association."""
        if (association := entry.association) is None:
            return
        if association.messages.number > MOST_REQUESTS:
            entry.break_off()
            return
        try:
            length = association.maximum_length
            if not self._answered(association.wire, association.messages, association.accepted, length, entry.node):
                association.wire.write(wire.HEAD.pack(wire.RELEASE_RP, 4) + bytes(4))
                association.wire.close()
                entry.association = None
        except wire.WireError:
            entry.break_off()

    def _serve(self, connection: socket.socket) -> None:
        """Serve one association that a node requests."""
        over = wire.Wire(connection, longest=LONGEST_REQUEST, seconds=SECONDS)
        try:
            nodes = self._nodes(plain(connection.getpeername()[0]))
            offer = replace(OFFER, ae_title=self.ae_title, allow=tuple(nodes))
            accepted = accept(over, offer, requested_by_peer(over, SECONDS), full=False)
            if isinstance(accepted, Accepted):
                over.longest = OFFER.maximum_length
                messages = Messages(over, accepted.contexts, silence=SECONDS, longest=LONGEST_IDENTIFIER)
                node = nodes[accepted.calling_ae_title]
                for _ in range(MOST_REQUESTS):
                    if not self._answered(over, messages, accepted.contexts, accepted.maximum_length, node):
                        over.write(wire.HEAD.pack(wire.RELEASE_RP, 4) + bytes(4))
                        return
                over.abort()
        except wire.WireError:
            over.abort()

    def _admits(self, address: str) -> bool:
        """Return whether an address belongs to a node that got a request."""
        admitted = bool(self._nodes(address))
        if not admitted:
            self._strangers = address
        return admitted

    def _nodes(self, address: str) -> dict[str, Node]:
        """Return the nodes that got a request and have this address, by AE title."""
        return {node.ae_title.strip(): node for node, addresses in [*self._callers.items()] if address in addresses}

    def _answered(
        self, over: wire.Wire, messages: Messages, contexts: Mapping[int, tuple[str, str]], maximum_length: int, node: Node
    ) -> bool:
        """Answer the next request of a node. Return False if the node requests release. Raises WireError."""
        message = messages.command()
        if message is None:
            return False
        if message.kind == wire.C_CANCEL_RQ:
            return True
        data_set = messages.data_set(message.context_id) if message.has_data_set else iter(())
        status, report = self._heard(message, data_set, contexts[message.context_id][1], node)
        for _ in data_set:
            pass
        over.write(wire.message(message.context_id, response(message, status), maximum_length))
        # After the answer, because the thread that gets the report releases the association.
        self._hand_over(report)
        return True

    def _heard(self, message: Message, data_set: Blocks, syntax: str, node: Node) -> tuple[int, Report | None]:
        """Return the status to answer a request of a node with, and its report if it is a valid one."""
        command = message.command
        if message.kind == wire.C_ECHO_RQ:
            return Status.SUCCESS, None
        if message.kind != wire.N_EVENT_REPORT_RQ:
            return Status.UNRECOGNIZED_OPERATION, None
        if command.get(wire.AFFECTED_SOP_INSTANCE) != PUSH_MODEL_INSTANCE.encode():
            return Status.NO_SUCH_INSTANCE, None
        if command.get(wire.EVENT_TYPE) not in (b"\1\0", b"\2\0"):
            return Status.NO_SUCH_EVENT, None
        report = self._read(identifier(data_set), syntax, node)
        return (Status.INVALID_ARGUMENT, None) if report is None else (Status.SUCCESS, report)

    def _read(self, data_set: bytes, syntax: str, node: Node) -> Report | None:
        """Read a report. Return None if it is invalid, or if this node has no report to make on the transaction."""
        try:
            report = read_report(data_set, syntax)
            entry = self._transactions[report.transaction]
        except (KeyError, ValueError):
            return None
        if entry.node != node or entry.report is not None:
            return None
        # An instance that is in both lists has failed.
        failed = {instance: reason for instance, reason in report.failed.items() if instance in entry.instances}
        return Report(report.transaction, report.committed & entry.instances - failed.keys(), failed)

    def _hand_over(self, report: Report | None) -> None:
        if report is None:
            return
        with self._changed, suppress(KeyError):  # its caller no longer waits
            entry = self._transactions[report.transaction]
            entry.report = entry.report or report
            self._changed.notify_all()


def _addresses(node: Node) -> frozenset[str]:
    """Resolve the host of a node. Return no address if that fails."""
    try:
        return frozenset(plain(str(found[4][0])) for found in socket.getaddrinfo(node.host, None, type=socket.SOCK_STREAM))
    except OSError:
        return frozenset()
