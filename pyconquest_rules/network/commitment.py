"""The Storage Commitment service class as its user (PS3.4 J): having a node say that it keeps what it was sent."""

import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.events import EVT_N_EVENT_REPORT, EVT_PDU_SENT, Event
from pynetdicom.presentation import build_context
from pynetdicom.status import STORAGE_COMMITMENT_SERVICE_CLASS_STATUS
from pynetdicom.transport import ThreadedAssociationServer

from pyconquest_rules.network.dimse import SUCCESS, UNCOMPRESSED, associated, refusal, status_of, undisturbed
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.server import GLANCE, ListenError

PUSH_MODEL, PUSH_MODEL_INSTANCE, VERIFICATION = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", "1.2.840.10008.1.1"
REQUEST_STORAGE_COMMITMENT = 1
NO_SUCH_INSTANCE, NO_SUCH_EVENT, INVALID_ARGUMENT = 0x0112, 0x0113, 0x0115
ASSOCIATIONS, SECONDS = 16, 30

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
    """A request that was sent: to whom, for what, its association, and the answer once it has come."""

    node: Node
    wanted: frozenset[str]
    association: ExitStack = field(default_factory=ExitStack)
    report: Report | None = None


class Waiting:
    """Requests commitments and waits for them.

    Takes N-EVENT-REPORTs (PS3.4 J.3.3) on the associations of the requests, which stay open, and on a port of its own. A context
    manager. `ae_title` must be the calling AE title of the nodes, which call it back at `host` and `port` as they are configured
    to; with port 0 it is any free one, then `port` has it; with None they do not. `context` secures what comes there. Raises
    ListenError where the port cannot be listened on.
    """

    def __init__(
        self, ae_title: str, host: str = "127.0.0.1", port: int | None = 0, context: ssl.SSLContext | None = None
    ) -> None:
        self._transactions: dict[str, _Transaction] = {}
        self._answering: dict[Association, tuple[_Transaction, Report]] = {}
        self._changed = threading.Condition()
        self._handlers: list[Any] = [(EVT_N_EVENT_REPORT, self._take), (EVT_PDU_SENT, self._answered)]
        self._server = None if port is None else self._listening(ae_title, host, port, context)
        self.port = 0 if self._server is None else int(self._server.server_address[1])

    def _listening(self, ae_title: str, host: str, port: int, context: ssl.SSLContext | None) -> ThreadedAssociationServer:
        ae = AE(ae_title=ae_title)
        ae.maximum_associations = ASSOCIATIONS
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = SECONDS
        # A node is the SCP of the push model on associations that it requests (PS3.4 J.3.3.1), most of them by role negotiation.
        ae.add_supported_context(PUSH_MODEL, UNCOMPRESSED, scu_role=True, scp_role=True)
        ae.add_supported_context(VERIFICATION)
        try:
            server = ae.start_server((host, port), block=False, ssl_context=context, evt_handlers=self._handlers)
        except OSError as error:
            raise ListenError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        if server is None:
            raise AssertionError("a server that does not block is given back")
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for transaction in self._transactions.values():
            transaction.association.close()
        if self._server is not None:
            self._server.shutdown()

    def request(self, node: Node, instances: Sequence[tuple[str, str]]) -> str:
        """Asks a node by N-ACTION (PS3.4 J.3.2) to commit itself to instances, given by SOP Class and SOP Instance UID.

        Gives the Transaction UID, with which `report` has the node's answer. Raises NodeError where the node cannot be reached
        or does not take the request.
        """
        transaction = str(generate_uid(prefix=None))  # of a random UUID (PS3.5 B.2): nobody else can guess and report it
        entry = _Transaction(node, frozenset(instance for _, instance in instances))
        self._transactions[transaction] = entry  # before it is sent, because the report may come first
        try:
            contexts = [build_context(PUSH_MODEL, UNCOMPRESSED)]
            association = entry.association.enter_context(associated(node, contexts, evt_handlers=self._handlers))
            information = Dataset()
            information.TransactionUID = transaction
            information.ReferencedSOPSequence = [_reference(*instance) for instance in instances]
            with undisturbed(association):
                response, _ = association.send_n_action(information, REQUEST_STORAGE_COMMITMENT, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            status = status_of(node, response)
            if status != SUCCESS:
                raise refusal(node, "N-ACTION", status, STORAGE_COMMITMENT_SERVICE_CLASS_STATUS)
        except BaseException:
            del self._transactions[transaction]
            entry.association.close()
            raise
        return transaction

    def report(self, transaction: str, seconds: float, stop: Callable[[], bool] = lambda: False) -> Report:
        """The report of a transaction that was requested here.

        Raises NodeError where there is none within so many seconds, or when `stop` says that nobody waits any more.
        """
        entry, end = self._transactions[transaction], time.monotonic() + seconds
        with self._changed:
            while entry.report is None and (left := end - time.monotonic()) > 0:
                if stop():
                    raise NodeError(entry.node, "was not waited for until it said what it commits to")
                self._changed.wait(min(left, GLANCE))
        if entry.report is None:
            hint = "" if entry.node.commitment_port else "; if it does so on an association of its own, give a commitment_port"
            raise NodeError(entry.node, f"has not said within {seconds:g} s what it commits to{hint}")
        del self._transactions[transaction]
        entry.association.close()
        return entry.report

    def _take(self, event: Event) -> tuple[int, None]:
        """Answers N-EVENT-REPORT, and keeps what it says of a transaction that was requested here."""
        request: Any = event.request
        if request.AffectedSOPInstanceUID != PUSH_MODEL_INSTANCE:
            return NO_SUCH_INSTANCE, None
        if event.event_type not in (1, 2):
            return NO_SUCH_EVENT, None
        try:
            information = event.event_information
            entry = self._transactions[str(information.TransactionUID)]
            failed = {
                str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or 0)
                for item in information.get("FailedSOPSequence") or []
            }
            kept = {str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence") or []}
        except Exception:  # noqa: BLE001 - whatever a peer can send, pydicom may stumble over
            return INVALID_ARGUMENT, None
        # Only of what was asked for, and of what is in both lists the worse is believed.
        failed = {instance: reason for instance, reason in failed.items() if instance in entry.wanted}
        with self._changed:
            report = Report(str(information.TransactionUID), frozenset(kept & entry.wanted - failed.keys()), failed)
            self._answering[event.assoc] = entry, report
        return SUCCESS, None

    def _answered(self, event: Event) -> None:
        """Hands a report over once its answer is on its way: whoever has it releases the association."""
        with self._changed:
            if told := self._answering.pop(event.assoc, None):
                entry, report = told
                entry.report = report
                self._changed.notify_all()


def _reference(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item
