"""A C-STORE that comes in (PS3.4 B, PS3.7 9.1.1): streamed to a keeper, and what is answered. For listeners and for C-GET."""

import errno
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from pyconquest_rules.network import wire as dimse
from pyconquest_rules.network.part10 import file_meta_information
from pyconquest_rules.network.receiving import Message
from pyconquest_rules.network.statuses import Status
from pyconquest_rules.network.wire import WireError

UID = re.compile(rb"[0-9]+(\.[0-9]+)*")
VERIFICATION, STORAGE_COMMITMENT = "1.2.840.10008.1.1", "1.2.840.10008.1.20.1"
NOT_STORED = frozenset({VERIFICATION, STORAGE_COMMITMENT})


class Part(Protocol):
    """An instance that is being received: what `Keep.part` opened."""

    duplicate: bool
    """Whether `finish` found that the same bytes were there already."""
    reason: str
    """Why `finish` refused the instance."""
    note: str
    """What is odd about an instance that `finish` kept."""

    def write(self, data: bytes | bytearray | memoryview) -> object:
        """Takes the next bytes of the file. Raises OSError."""

    def finish(self) -> int:
        """Makes the instance durable and findable, and says what is answered: 0x0000 only after that. Raises OSError."""


class Keep(Protocol):
    """Whoever keeps what is received. Called from the threads of all associations at once.

    What it raises is answered with 0xA700 where there was no room, else with 0x0110, and the association goes on; to tell people
    of it is its own task.
    """

    def part(
        self, sop_class: str, sop_instance: str, transfer_syntax: str, calling_ae_title: str
    ) -> AbstractContextManager[Part]:
        """Opens a place for an instance. Left without `finish`, or when that refused, nothing of it stays. Raises OSError."""

    def free(self) -> int:
        """How many bytes of room there are."""


class About(NamedTuple):
    """What is known of an instance before its data set comes, as `Keep.part` takes it."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling_ae_title: str


class Stored(NamedTuple):
    """What became of an instance: what is answered, the bytes of its data set, whether it was there already.

    `reason` is why it was refused, `note` what is odd about one that was kept; neither holds a value of a patient.
    """

    status: int
    size: int = 0
    duplicate: bool = False
    reason: str = ""
    note: str = ""


def kept(keep: Keep, about: About, data_set: Iterator[bytes | bytearray | memoryview], *, min_free: int) -> Stored:
    """Streams a data set to `keep`, of whose room `min_free` bytes stay free. Raises WireError alone."""
    size = 0
    try:
        with keep.part(*about) as part:
            part.write(file_meta_information(*about))
            for block in data_set:
                if keep.free() - len(block) < min_free:
                    raise OSError(errno.ENOSPC, f"fewer than {min_free} bytes (min_free) would stay free")
                part.write(block)
                size += len(block)
            status = part.finish()
            return Stored(status, size, status == Status.SUCCESS and part.duplicate, part.reason, part.note)
    except WireError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the keeper comes to must not end the association
        no_room = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        status = Status.OUT_OF_RESOURCES if no_room else Status.PROCESSING_FAILURE
        return Stored(status, size, reason=_words(error))


def _words(error: Exception) -> str:
    """Why something failed. The name of a file, which may hold values of a patient, is left out, as is the text of a bug."""
    return error.strerror or "input/output error" if isinstance(error, OSError) else f"internal error: {type(error).__name__}"


def refusal(message: Message, sop_class: str) -> int:
    """What is wrong with a C-STORE-RQ in a context of this SOP class, before its data set comes; SUCCESS if nothing is."""
    if message.command.get(dimse.AFFECTED_SOP_CLASS) != sop_class.encode() or sop_class in NOT_STORED:
        return Status.SOP_CLASS_NOT_SUPPORTED
    if not instance_uid(message):
        return Status.INVALID_SOP_INSTANCE
    return Status.SUCCESS if message.has_data_set else Status.CANNOT_UNDERSTAND


def instance_uid(message: Message) -> str:
    """The Affected SOP Instance UID of a request; "" if it has no valid one (PS3.5 9.1)."""
    uid = message.command.get(dimse.AFFECTED_SOP_INSTANCE, b"")
    return uid.decode() if UID.fullmatch(uid) and len(uid) <= 64 else ""


def response(message: Message, status: int) -> bytes:
    """The command that answers another (PS3.7 9.3). Raises WireError where that is no request."""
    if message.kind & dimse.RESPONSE:
        raise WireError("the peer answered what was not asked")
    told = (dimse.AFFECTED_SOP_CLASS, dimse.AFFECTED_SOP_INSTANCE)
    elements: dict[int, bytes | int] = {element: message.command[element] for element in told if element in message.command}
    elements |= {
        dimse.COMMAND_FIELD: message.kind | dimse.RESPONSE,
        dimse.MESSAGE_ID_RESPONDED: dimse.number(message.command, dimse.MESSAGE_ID),
        dimse.DATA_SET_TYPE: dimse.NO_DATA_SET,
        dimse.STATUS: status,
    }
    return dimse.command_set(elements)
