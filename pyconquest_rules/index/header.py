"""The header of a DICOM file: whether it is an instance that can be indexed, and the texts of wanted elements.

Nothing that a file holds can raise more than `Rejected`, and nothing of a file is in its text. Only this module and
`dataset.py` read bytes of foreign files.
"""

import os
import re
import stat
import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from typing import BinaryIO

from pyconquest_rules.dicom import TagPath
from pyconquest_rules.index.dataset import DIRECTORY_RECORDS, DataSet, Value

INFLATED_LIMIT = 64 * 1024 * 1024
"""A deflated data set (PS3.5 A.5) of more bytes is refused: it is inflated in memory."""

MEDIA_STORAGE_SOP_CLASS, TRANSFER_SYNTAX = 0x00020002, 0x00020010
META_TAGS = frozenset({MEDIA_STORAGE_SOP_CLASS, TRANSFER_SYNTAX})
SOP_CLASS, SOP_INSTANCE = 0x00080016, 0x00080018
DIRECTORY = b"1.2.840.10008.1.3.10"
DEFLATED = "1.2.840.10008.1.2.1.99"

# Wider than PS3.5 9.1: tools that de-identify put UUIDs where UIDs belong.
UID = re.compile(rb"(?=.*[0-9])[0-9A-Fa-f][0-9A-Fa-f.-]{0,63}")

# A first element of group 0002 or 0008, of which are little endian, big endian, and either with a VR or a length.
BARE = re.compile(rb"([\2\10]\0.\0|\0[\2\10]\0.)([A-Z][A-Z]|..\0\0)", re.DOTALL)


class Reason(StrEnum):
    """Why a file is refused."""

    NOT_A_FILE = "not-a-file"
    UNREADABLE = "unreadable"
    NOT_DICOM = "not-dicom"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    DICOMDIR = "dicomdir"
    NO_SOP_INSTANCE_UID = "no-SOPInstanceUID"
    BAD_SOP_INSTANCE_UID = "invalid-SOPInstanceUID"
    READER_KILLED = "reader-killed"


class Rejected(Exception):
    """The file is no instance that can be indexed. Holds the reason, and nothing of the file."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Wanted:
    """The elements whose values are wanted, in any order, and whether a digest of an RT object's content is wanted too.

    Can be sent to worker processes.
    """

    paths: tuple[TagPath, ...]
    content: bool = False
    tags: frozenset[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", frozenset({SOP_CLASS, SOP_INSTANCE}).union(*(path.tags for path in self.paths)))


@dataclass(frozen=True, slots=True)
class Header:
    """What was read of an instance. `values` has a text or None for each of the wanted paths, in their order.

    For a path over all items of a sequence it has a tuple of these, one for each item; None where there is no sequence.
    """

    SOPInstanceUID: str
    TransferSyntaxUID: str | None
    values: tuple[Value, ...]
    content: str | None = None


def read(path: str | os.PathLike[str] | bytes, wanted: Wanted) -> Header:
    """The header of the file at `path`, with the wanted values as `values.text` gives them.

    The SOPInstanceUID is that of the data set, not of the file meta information (PS3.10 7.1). A file is DICOM by its
    content: `DICM` after 128 bytes, or else elements with a SOP Class UID and a SOP Instance UID. What comes after the
    pixel data is not read.

    Raises Rejected, and nothing else whatever is found at `path`: where it is not a regular file or cannot be read, is
    not DICOM, ends too early (within the pixel data too), breaks the encoding of PS3.5, is a DICOMDIR, or has no SOP
    Instance UID of 1 to 64 hexadecimal digits, dots and dashes.
    """
    try:
        with open(path, "rb", opener=_opener) as file:
            return _read(file, wanted)
    except Exception as error:  # noqa: BLE001  no bytes of a foreign file may end the run
        reason = _reason(error)
    # Not in the handler: no error that could have values of the file in its text becomes the context of this one.
    raise Rejected(reason)


def _opener(path: str, flags: int) -> int:
    # O_NONBLOCK: opening a FIFO would wait for somebody who writes.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _reason(error: Exception) -> Reason:
    match error:
        case Rejected():
            return error.reason
        case OSError():
            return Reason.UNREADABLE
        case EOFError():
            return Reason.TRUNCATED
        case MemoryError():
            return Reason.TOO_LARGE
        case _:
            return Reason.MALFORMED


def _read(file: BinaryIO, wanted: Wanted) -> Header:
    size = _size(file)
    start = _start(file)
    meta = DataSet(file, start, size, META_TAGS, group=2)
    syntax = _uid(meta, TRANSFER_SYNTAX)
    body = _inflated(file, meta.end) if syntax == DEFLATED else (file, meta.end, size)
    found = DataSet(*body, wanted.tags)
    if found.ended_at == DIRECTORY_RECORDS or DIRECTORY in (meta.value(MEDIA_STORAGE_SOP_CLASS), found.value(SOP_CLASS)):
        raise Rejected(Reason.DICOMDIR)
    uid = _uid(found, SOP_INSTANCE)
    if start == 0 and not (uid and found.value(SOP_CLASS)):
        raise Rejected(Reason.NOT_DICOM)
    if uid is None:
        raise Rejected(Reason.BAD_SOP_INSTANCE_UID if found.value(SOP_INSTANCE) else Reason.NO_SOP_INSTANCE_UID)
    return Header(uid, syntax, tuple(map(found.found, wanted.paths)))


def _size(file: BinaryIO) -> int:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise Rejected(Reason.NOT_A_FILE)
    return status.st_size


def _start(file: BinaryIO) -> int:
    """Where the first element is. Without the preamble of PS3.10 7.1 that is 0, and it must look like one."""
    head = file.read(132)
    if head[128:] == b"DICM":
        return 132
    if BARE.match(head):
        return 0
    raise Rejected(Reason.NOT_DICOM)


def _inflated(file: BinaryIO, start: int) -> tuple[BinaryIO, int, int]:
    """The data set at `start` without the compression of PS3.5 A.5: as a file, its start there, and its size."""
    engine, data = zlib.decompressobj(-zlib.MAX_WBITS), BytesIO()
    file.seek(start)
    while not engine.eof:
        chunk = engine.unconsumed_tail or file.read(1 << 16)
        part = engine.decompress(chunk, 1 << 20)
        data.write(part)
        if not (chunk or part):
            raise Rejected(Reason.TRUNCATED)
        if data.tell() > INFLATED_LIMIT:
            raise Rejected(Reason.TOO_LARGE)
    return data, 0, data.tell()


def _uid(found: DataSet, tag: int) -> str | None:
    """The one UID of an element; None for anything else."""
    raw = found.value(tag)
    return raw.decode() if UID.fullmatch(raw) else None
