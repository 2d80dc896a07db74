"""The messages of Storage Commitment (PS3.4 J): requests and reports, written and read by the SCU and the SCP."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from pyconquest_rules.network import wire
from pyconquest_rules.network.elements import elements, items
from pyconquest_rules.network.identifier import encoded
from pyconquest_rules.network.limits import LONGEST_UID
from pyconquest_rules.network.receiving import Message
from pyconquest_rules.network.statuses import Status
from pyconquest_rules.network.storing import STORAGE_COMMITMENT

PUSH_MODEL, PUSH_MODEL_INSTANCE = STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1"
"""The SOP class of the push model, and its well-known instance (PS3.4 J.3.5)."""

ACTION, ALL_COMMITTED, FAILURES_EXIST = 1, 1, 2
"""The action type of a request (PS3.4 J.3.2.1.1), and the event types of a report (PS3.4 J.3.3.1.1)."""

NO_SUCH_CLASS, NO_SUCH_ACTION, RESOURCE_LIMITATION = 0x0118, 0x0123, 0x0213
MOST_INSTANCES = 100_000
NOTHING = memoryview(b"")

# The elements of a request and of a report (PS3.4 J.3.2.1.1.2, J.3.3.1.1.2).
TRANSACTION, SOP_CLASS, SOP_INSTANCE = 0x00081195, 0x00081150, 0x00081155
REFERENCED, FAILED, FAILURE_REASON = 0x00081199, 0x00081198, 0x00081197

REASONS: Mapping[int, str] = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0213: "resource limitation",
    0x0122: "referenced SOP Class not supported",
    0x0119: "class / instance conflict",
    0x0131: "duplicate transaction UID",
}
"""The words for Failure Reason (0008,1197), from PS3.3 C.14.1.1."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for commitment: its Transaction UID, and the SOP Class and SOP Instance UID of each instance."""

    transaction: str
    instances: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a node on one transaction. It may leave out instances of the request.

    `failed` maps each SOPInstanceUID that is not committed to its Failure Reason (0008,1197), or to 0 if there is none.
    """

    transaction: str
    committed: frozenset[str]
    failed: Mapping[str, int]


def action_request(transaction: str, instances: Sequence[tuple[str, str]], syntax: str) -> tuple[wire.Command, bytes]:
    """Return an N-ACTION-RQ (PS3.4 J.3.2) without its message ID, and its data set."""
    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = _items(instances)
    command: wire.Command = {
        wire.REQUESTED_SOP_CLASS: PUSH_MODEL.encode(),
        wire.COMMAND_FIELD: wire.N_ACTION_RQ,
        wire.REQUESTED_SOP_INSTANCE: PUSH_MODEL_INSTANCE.encode(),
        wire.ACTION_TYPE: ACTION,
    }
    return command, encoded(information, syntax)


def read_request(message: Message, data_set: bytes, syntax: str) -> Request | int:
    """Read an N-ACTION-RQ. Return the request, or the status to refuse it with (PS3.7 10.1.4.1.10)."""
    command = message.command
    if command.get(wire.REQUESTED_SOP_CLASS) != PUSH_MODEL.encode():
        return NO_SUCH_CLASS
    if command.get(wire.REQUESTED_SOP_INSTANCE) != PUSH_MODEL_INSTANCE.encode():
        return Status.NO_SUCH_INSTANCE
    if int.from_bytes(command.get(wire.ACTION_TYPE, b""), "little") != ACTION:
        return NO_SUCH_ACTION
    try:
        information = elements(data_set, syntax)
        transaction = _uid(information[TRANSACTION])
        references = items(information[REFERENCED], syntax)
        instances = tuple((_uid(item[SOP_CLASS]), _uid(item[SOP_INSTANCE])) for item in references)
    except (KeyError, ValueError):
        return Status.INVALID_ARGUMENT
    return Request(transaction, instances) if transaction and 0 < len(instances) <= MOST_INSTANCES else Status.INVALID_ARGUMENT


def action_response(message: Message, status: int) -> bytes:
    """Return the command that answers an N-ACTION-RQ (PS3.7 10.3.5.2). It has all optional elements: Orthanc needs them."""
    return wire.command_set(
        {
            wire.AFFECTED_SOP_CLASS: message.command.get(wire.REQUESTED_SOP_CLASS, b""),
            wire.COMMAND_FIELD: message.kind | wire.RESPONSE,
            wire.MESSAGE_ID_RESPONDED: wire.number(message.command, wire.MESSAGE_ID),
            wire.DATA_SET_TYPE: wire.NO_DATA_SET,
            wire.STATUS: status,
            wire.AFFECTED_SOP_INSTANCE: message.command.get(wire.REQUESTED_SOP_INSTANCE, b""),
            wire.ACTION_TYPE: wire.number(message.command, wire.ACTION_TYPE),
        }
    )


def event_report(request: Request, failed: dict[tuple[str, str], int], syntax: str) -> tuple[wire.Command, bytes]:
    """Return an N-EVENT-REPORT-RQ (PS3.4 J.3.3) without its message ID, and its data set."""
    information = Dataset()
    information.TransactionUID = request.transaction
    if committed := [instance for instance in dict.fromkeys(request.instances) if instance not in failed]:
        information.ReferencedSOPSequence = _items(committed)
    if failed:
        information.FailedSOPSequence = _items(failed)
        for item, reason in zip(information.FailedSOPSequence, failed.values(), strict=True):
            item.FailureReason = reason
    command: wire.Command = {
        wire.AFFECTED_SOP_CLASS: PUSH_MODEL.encode(),
        wire.COMMAND_FIELD: wire.N_EVENT_REPORT_RQ,
        wire.AFFECTED_SOP_INSTANCE: PUSH_MODEL_INSTANCE.encode(),
        wire.EVENT_TYPE: FAILURES_EXIST if failed else ALL_COMMITTED,
    }
    return command, encoded(information, syntax)


def read_report(data_set: bytes, syntax: str) -> Report:
    """Read the data set of an N-EVENT-REPORT-RQ. Raises KeyError or ValueError if it is invalid."""
    information = elements(data_set, syntax)
    transaction = _uid(information[TRANSACTION])
    failed = {
        _uid(item[SOP_INSTANCE]): int.from_bytes(item.get(FAILURE_REASON, b"")[:2], "little")
        for item in items(information.get(FAILED, NOTHING), syntax)
    }
    committed = frozenset(_uid(item[SOP_INSTANCE]) for item in items(information.get(REFERENCED, NOTHING), syntax))
    return Report(transaction, committed, failed)


def _uid(value: memoryview) -> str:
    """Return a UID without its padding. Raises ValueError if it is not ASCII, or too long."""
    if len(value) > LONGEST_UID:
        raise ValueError
    return bytes(value).decode("ascii").strip(" \0")


def _items(instances: Iterable[tuple[str, str]]) -> list[Dataset]:
    references = []
    for sop_class, sop_instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        references.append(item)
    return references
