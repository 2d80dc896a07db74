"""The Storage Commitment service class as its user (PS3.4 J): having a node say that it keeps what it was sent."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from pyconquest_rules.network import wire
from pyconquest_rules.network.accepting import LONGEST_REQUEST, Accepted, Offer, accept
from pyconquest_rules.network.accepting import requested as requested_by_peer
from pyconquest_rules.network.associate import Roles
from pyconquest_rules.network.association import Association, Context, negotiated
from pyconquest_rules.network.committing import (
    FAILED,
    FAILURE_REASON,
    REFERENCED,
    SOP_INSTANCE,
    TRANSACTION,
    uid,
)
from pyconquest_rules.network.dimse import UNCOMPRESSED, Blocks, identifier, performed, refusal
from pyconquest_rules.network.elements import elements, items
from pyconquest_rules.network.identifier import encoded
from pyconquest_rules.network.limits import LONGEST_IDENTIFIER, MOST_REQUESTS
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.receiving import Message, Messages
from pyconquest_rules.network.server import Server, plain
from pyconquest_rules.network.statuses import GENERAL, Status, is_stored
from pyconquest_rules.network.storing import response

PUSH_MODEL, PUSH_MODEL_INSTANCE, VERIFICATION = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", "1.2.840.10008.1.1"
REQUEST_STORAGE_COMMITMENT = 1
ASSOCIATIONS, SECONDS = 16, 30
NOTHING = memoryview(b"")
GLANCE = 0.02
"""How often is looked for a report, in seconds: on the association of its request, and whether it came on another."""

OFFER = Offer(
    ae_title="",
    allow=(),
    maximum_length=1 << 17,
    takes=frozenset([PUSH_MODEL, VERIFICATION]).__contains__,
    knows=lambda _, syntax: syntax in UNCOMPRESSED,
    # A node is the SCP of the push model on associations that it requests (PS3.4 J.3.3.1), most of them by role negotiation.
    roles={PUSH_MODEL: Roles(scu=True, scp=True)},
)

REASONS: Mapping[int, str] = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0213: "resource limitation",
    0x0122: "referenced SOP Class not supported",
    0x0119: "class / instance conflict",
    0x0131: "duplicate transaction UID",
}
"""The words for Failure Reason (0008,1197), of PS3.3 C.14.1.1."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a node said of a transaction. What is in neither, it did not speak of.

    `failed` are the SOPInstanceUIDs that it does not keep, each with its Failure Reason (0008,1197), 0 where it gave none.
    """

    transaction: str
    committed: frozenset[str]
    failed: Mapping[str, int]


@dataclass(slots=True)
class _Transaction:
    """A request that was sent: to whom, for what, its association while there is one, and the answer once it has come."""

    node: Node
    wanted: frozenset[str]
    association: Association | None = None
    report: Report | None = None

    def close(self) -> None:
        """Releases the association."""
        if self.association is not None:
            self.association.wire.release(self.node.acse_timeout)
            self.association = None

    def break_off(self) -> None:
        """Aborts the association."""
        if self.association is not None:
            self.association.wire.abort()
            self.association = None


class Waiting:
    """Requests commitments and waits for them.

    Takes N-EVENT-REPORTs (PS3.4 J.3.3) on the associations of the requests, which stay open, and on a port of its own. To that
    only the nodes that were asked may connect: from an address of their host, with the AE titles of both. Each transaction is
    reported once. A context manager.

    `ae_title` must be the calling AE title of the nodes, which call it back at `host` and `port` as they are configured to; with
    port 0 it is any free one, then `port` has it; with None they do not. `context` secures what comes there. Raises ListenError
    where the port cannot be listened on.
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
        """Asks a node by N-ACTION (PS3.4 J.3.2) to commit itself to instances, given by SOP Class and SOP Instance UID.

        Gives the Transaction UID, with which `report` has the node's answer. Raises NodeError where the node cannot be reached
        or does not take the request.
        """
        transaction = str(generate_uid(prefix=None))  # of a random UUID (PS3.5 B.2): nobody else can guess and report it
        entry = _Transaction(node, frozenset(instance for _, instance in instances))
        if self._server is not None:
            self._callers[node] = _addresses(node)
        self._transactions[transaction] = entry  # before it is sent, because the report may come first
        try:
            entry.association = negotiated(node, [Context(PUSH_MODEL, UNCOMPRESSED)])
            self._ask(entry.association, transaction, instances)
        except BaseException:
            del self._transactions[transaction]
            entry.break_off()
            raise
        return transaction

    def _ask(self, association: Association, transaction: str, instances: Sequence[tuple[str, str]]) -> None:
        """N-ACTION (PS3.7 10.1.4). Raises NodeError."""
        ((context_id, (_, syntax)),) = association.accepted.items()
        information = Dataset()
        information.TransactionUID = transaction
        information.ReferencedSOPSequence = [_reference(*instance) for instance in instances]
        request: wire.Command = {
            wire.REQUESTED_SOP_CLASS: PUSH_MODEL.encode(),
            wire.COMMAND_FIELD: wire.N_ACTION_RQ,
            wire.REQUESTED_SOP_INSTANCE: PUSH_MODEL_INSTANCE.encode(),
            wire.ACTION_TYPE: REQUEST_STORAGE_COMMITMENT,
        }

        def serve(message: Message, data_set: Blocks) -> int:
            status, report = self._heard(message, data_set, syntax, association.node)
            self._hand_over(report)
            return status

        for status, *_ in performed(association, context_id, request, encoded(information, syntax), serve):
            if not is_stored(status):
                raise refusal(association.node, "N-ACTION", status, GENERAL)

    def report(self, transaction: str, seconds: float, stop: Callable[[], bool] = lambda: False) -> Report:
        """The report of a transaction that was requested here.

        Raises NodeError where there is none within so many seconds, or when `stop` says that nobody waits any more.
        """
        entry, end = self._transactions[transaction], time.monotonic() + seconds
        while entry.report is None and (left := end - time.monotonic()) > 0:
            if stop():
                raise NodeError(entry.node, "was not waited for until it said what it commits to")
            if entry.association is None or not entry.association.wire.is_ready(0):
                with self._changed:
                    self._changed.wait_for(lambda: entry.report is not None, min(left, GLANCE))
            else:
                self._hear(entry)
        del self._transactions[transaction]
        if entry.report is None:
            entry.break_off()
            hint = "" if entry.node.commitment_port else "; if it does so on an association of its own, give a commitment_port"
            if self._strangers:
                hint = f"; {self._strangers} was not let in at commitment_port, because it is no address of the host of the node"
            raise NodeError(entry.node, f"has not said within {seconds:g} s what it commits to{hint}")
        entry.close()
        return entry.report

    def _hear(self, entry: _Transaction) -> None:
        """Answers what comes on the association of a request, which may end there: the report may come on another."""
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
        """An association that a node requests."""
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
        """Whether an address is one of a node that was asked."""
        admitted = bool(self._nodes(address))
        if not admitted:
            self._strangers = address
        return admitted

    def _nodes(self, address: str) -> dict[str, Node]:
        """The nodes that were asked and have this address, by their AE titles."""
        return {node.ae_title.strip(): node for node, addresses in [*self._callers.items()] if address in addresses}

    def _answered(
        self, over: wire.Wire, messages: Messages, contexts: Mapping[int, tuple[str, str]], maximum_length: int, node: Node
    ) -> bool:
        """Answers the next request of a node; False if it asks for release instead. Raises WireError."""
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
        # Only once it was answered, for whoever has the report releases the association.
        self._hand_over(report)
        return True

    def _heard(self, message: Message, data_set: Blocks, syntax: str, node: Node) -> tuple[int, Report | None]:
        """What to answer to a request of a node, and what it reports of a transaction that was requested here."""
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
        """What an event report says; None if that cannot be read, or is of no transaction whose report is due from this node."""
        try:
            information = elements(data_set, syntax)
            transaction = uid(information[TRANSACTION])
            entry = self._transactions[transaction]
            failed = {
                uid(item[SOP_INSTANCE]): int.from_bytes(item.get(FAILURE_REASON, b"")[:2], "little")
                for item in items(information.get(FAILED, NOTHING), syntax)
            }
            kept = {uid(item[SOP_INSTANCE]) for item in items(information.get(REFERENCED, NOTHING), syntax)}
        except (KeyError, ValueError):
            return None
        if entry.node != node or entry.report is not None:
            return None
        # Only of what was asked for, and of what is in both lists the worse is believed.
        failed = {instance: reason for instance, reason in failed.items() if instance in entry.wanted}
        return Report(transaction, frozenset(kept & entry.wanted - failed.keys()), failed)

    def _hand_over(self, report: Report | None) -> None:
        if report is None:
            return
        with self._changed, suppress(KeyError):  # whoever waited for it gave up
            entry = self._transactions[report.transaction]
            entry.report = entry.report or report
            self._changed.notify_all()


def _addresses(node: Node) -> frozenset[str]:
    """The addresses that the host of a node resolves to; none if it cannot be resolved."""
    try:
        return frozenset(plain(str(found[4][0])) for found in socket.getaddrinfo(node.host, None, type=socket.SOCK_STREAM))
    except OSError:
        return frozenset()


def _reference(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item
