"""Handle incoming C-STORE (PS3.4 B, PS3.7 9.1.1) for listeners and for C-GET: stream the data set, and decide the answer."""

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
    """An instance that is being received, opened by `Storage.part`."""

    duplicate: bool
    """Whether `finish` found an existing instance with the same data set."""
    reason: str
    """The reason why `finish` refused the instance."""
    note: str
    """A note on an instance that `finish` stored."""

    def write(self, data: bytes | bytearray | memoryview) -> object:
        """Take the next bytes of the file. Raises OSError."""

    def finish(self) -> int:
        """Make the instance durable, index it, then return the status to answer. Raises OSError."""


class Storage(Protocol):
    """The destination of received instances. Called from the threads of all associations at once.

    If it raises an error, the answer is 0xA700 (no room) or 0x0110, and the association continues.
    """

    def part(
        self, sop_class: str, sop_instance: str, transfer_syntax: str, calling_ae_title: str
    ) -> AbstractContextManager[Part]:
        """Open a file for an instance. It is deleted at the end, unless `finish` stored it. Raises OSError."""

    def free(self) -> int:
        """Return the number of free bytes."""


class About(NamedTuple):
    """The attributes of an instance that are known before its data set: the arguments of `Storage.part`."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling_ae_title: str


class Stored(NamedTuple):
    """The outcome of an instance: the status to answer, the size of its data set, and whether it existed already.

    `reason` explains a refusal, `note` comments on a stored instance. Neither has patient data.
    """

    status: int
    size: int = 0
    duplicate: bool = False
    reason: str = ""
    note: str = ""


def kept(storage: Storage, about: About, data_set: Iterator[bytes | bytearray | memoryview], *, min_free: int) -> Stored:
    """Stream a data set to `storage`, so that `min_free` bytes stay free. Raises WireError only."""
    size = 0
    try:
        with storage.part(*about) as part:
            part.write(file_meta_information(*about))
            for block in data_set:
                if storage.free() - len(block) < min_free:
                    raise OSError(errno.ENOSPC, f"fewer than {min_free} bytes (min_free) would stay free")
                part.write(block)
                size += len(block)
            status = part.finish()
            return Stored(status, size, status == Status.SUCCESS and part.duplicate, part.reason, part.note)
    except WireError:
        raise
    except Exception as error:  # noqa: BLE001 - a failure to store must not end the association
        no_room = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        status = Status.OUT_OF_RESOURCES if no_room else Status.PROCESSING_FAILURE
        return Stored(status, size, reason=_words(error))


def _words(error: Exception) -> str:
    """Explain an error without patient data: file names, and the texts of unexpected exceptions, are left out."""
    return error.strerror or "input/output error" if isinstance(error, OSError) else f"internal error: {type(error).__name__}"


def refusal(message: Message, sop_class: str) -> int:
    """Check a C-STORE-RQ before its data set arrives. Return the status to refuse it with, or SUCCESS."""
    if message.command.get(dimse.AFFECTED_SOP_CLASS) != sop_class.encode() or sop_class in NOT_STORED:
        return Status.SOP_CLASS_NOT_SUPPORTED
    if not instance_uid(message):
        return Status.INVALID_SOP_INSTANCE
    return Status.SUCCESS if message.has_data_set else Status.CANNOT_UNDERSTAND


def instance_uid(message: Message) -> str:
    """Return the Affected SOP Instance UID of a request; "" if it has no valid one (PS3.5 9.1)."""
    uid = message.command.get(dimse.AFFECTED_SOP_INSTANCE, b"")
    return uid.decode() if UID.fullmatch(uid) and len(uid) <= 64 else ""


def response(message: Message, status: int) -> bytes:
    """Return the response to a request (PS3.7 9.3). Raises WireError if the message is itself a response."""
    if message.kind & dimse.RESPONSE:
        raise WireError("the peer sent a response to no request")
    told = (dimse.AFFECTED_SOP_CLASS, dimse.AFFECTED_SOP_INSTANCE)
    elements: dict[int, bytes | int] = {element: message.command[element] for element in told if element in message.command}
    elements |= {
        dimse.COMMAND_FIELD: message.kind | dimse.RESPONSE,
        dimse.MESSAGE_ID_RESPONDED: dimse.number(message.command, dimse.MESSAGE_ID),
        dimse.DATA_SET_TYPE: dimse.NO_DATA_SET,
        dimse.STATUS: status,
    }
    return dimse.command_set(elements)
