"""The Storage Commitment service class as its provider (PS3.4 J): what a peer requests, and what it is told of that."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pydicom.dataset import Dataset

from pyconquest_rules.network import wire as dimse
from pyconquest_rules.network.elements import elements, items
from pyconquest_rules.network.identifier import encoded
from pyconquest_rules.network.limits import LONGEST_UID
from pyconquest_rules.network.receiving import Message
from pyconquest_rules.network.statuses import Status
from pyconquest_rules.network.storing import STORAGE_COMMITMENT

INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known instance of the push model (PS3.4 J.3.5)."""

ACTION, ALL_COMMITTED, FAILURES_EXIST = 1, 1, 2
"""The action type of a request (PS3.4 J.3.2.1.1), and the event types of a report (PS3.4 J.3.3.1.1)."""

NO_SUCH_CLASS, NO_SUCH_ACTION, RESOURCE_LIMITATION = 0x0118, 0x0123, 0x0213
MOST_INSTANCES = 100_000


# Of a request and a report (PS3.4 J.3.2.1.1.2, J.3.3.1.1.2).
TRANSACTION, SOP_CLASS, SOP_INSTANCE = 0x00081195, 0x00081150, 0x00081155
REFERENCED, FAILED, FAILURE_REASON = 0x00081199, 0x00081198, 0x00081197


def uid(value: memoryview) -> str:
    """Return a UID without its padding. Raises ValueError for what is not ASCII, or too long to be one."""
    if len(value) > LONGEST_UID:
        raise ValueError
    return bytes(value).decode("ascii").strip(" \0")


class Archive(Protocol):
    """Whoever keeps instances. Called from the threads of all associations at once."""

    def holds(self, sop_class: str, sop_instance: str) -> int:
        """Return 0 if an instance is durable and findable, else its Failure Reason (PS3.3 C.14.1.1). Raises OSError."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for commitment: its Transaction UID, and the SOP Class and SOP Instance UIDs of what it is about."""

    transaction: str
    instances: tuple[tuple[str, str], ...]


def asked(message: Message, data_set: bytes, syntax: str) -> Asked | int:
    """Return what an N-ACTION-RQ asks for, or the status that refuses it (PS3.7 10.1.4.1.10)."""
    command = message.command
    if command.get(dimse.REQUESTED_SOP_CLASS) != STORAGE_COMMITMENT.encode():
        return NO_SUCH_CLASS
    if command.get(dimse.REQUESTED_SOP_INSTANCE) != INSTANCE.encode():
        return Status.NO_SUCH_INSTANCE
    if int.from_bytes(command.get(dimse.ACTION_TYPE, b""), "little") != ACTION:
        return NO_SUCH_ACTION
    try:
        information = elements(data_set, syntax)
        transaction = uid(information[TRANSACTION])
        named = items(information[REFERENCED], syntax)
        instances = tuple((uid(item[SOP_CLASS]), uid(item[SOP_INSTANCE])) for item in named)
    except (KeyError, ValueError):
        return Status.INVALID_ARGUMENT
    return Asked(transaction, instances) if transaction and 0 < len(instances) <= MOST_INSTANCES else Status.INVALID_ARGUMENT


def action_response(message: Message, status: int) -> bytes:
    """Return the command that answers an N-ACTION-RQ (PS3.7 10.3.5.2), with all its optional elements: Orthanc wants them."""
    return dimse.command_set(
        {
            dimse.AFFECTED_SOP_CLASS: message.command.get(dimse.REQUESTED_SOP_CLASS, b""),
            dimse.COMMAND_FIELD: message.kind | dimse.RESPONSE,
            dimse.MESSAGE_ID_RESPONDED: dimse.number(message.command, dimse.MESSAGE_ID),
            dimse.DATA_SET_TYPE: dimse.NO_DATA_SET,
            dimse.STATUS: status,
            dimse.AFFECTED_SOP_INSTANCE: message.command.get(dimse.REQUESTED_SOP_INSTANCE, b""),
            dimse.ACTION_TYPE: dimse.number(message.command, dimse.ACTION_TYPE),
        }
    )


def refused(archive: Archive, asked_for: Asked) -> dict[tuple[str, str], int]:
    """Return the instances that are not committed to, each with its Failure Reason."""
    return {instance: reason for instance in asked_for.instances if (reason := _reason(archive, *instance))}


def _reason(archive: Archive, sop_class: str, sop_instance: str) -> int:
    try:
        return archive.holds(sop_class, sop_instance)
    except Exception:  # noqa: BLE001 - what cannot be looked at now is not committed to
        return Status.PROCESSING_FAILURE


def report(asked_for: Asked, failed: dict[tuple[str, str], int], syntax: str) -> tuple[dimse.Command, bytes]:
    """Return an N-EVENT-REPORT-RQ (PS3.4 J.3.3), without its message ID, and its data set."""
    information = Dataset()
    information.TransactionUID = asked_for.transaction
    if kept := [instance for instance in dict.fromkeys(asked_for.instances) if instance not in failed]:
        information.ReferencedSOPSequence = _items(kept)
    if failed:
        information.FailedSOPSequence = _items(failed)
        for item, reason in zip(information.FailedSOPSequence, failed.values(), strict=True):
            item.FailureReason = reason
    command: dimse.Command = {
        dimse.AFFECTED_SOP_CLASS: STORAGE_COMMITMENT.encode(),
        dimse.COMMAND_FIELD: dimse.N_EVENT_REPORT_RQ,
        dimse.AFFECTED_SOP_INSTANCE: INSTANCE.encode(),
        dimse.EVENT_TYPE: FAILURES_EXIST if failed else ALL_COMMITTED,
    }
    return command, encoded(information, syntax)


def _items(instances: Iterable[tuple[str, str]]) -> list[Dataset]:
    items = []
    for sop_class, sop_instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        items.append(item)
    return items
