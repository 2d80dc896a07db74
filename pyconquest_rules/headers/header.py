"""The header of a DICOM file: whether it is an instance that can be indexed, and the texts of wanted elements.

Nothing that a file holds can raise more than `Rejected`, and nothing of a file is in its text. Only this module and those
that it reads with, `layouts`, `dataset` and below them, read bytes of foreign files.
"""

import os
import re
import stat
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from io import BytesIO
from struct import Struct, error
from typing import NamedTuple

from pyconquest_rules.dicom import TagPath, Value
from pyconquest_rules.headers.dataset import DIRECTORY_RECORDS, DataSet
from pyconquest_rules.headers.dialect import Odd
from pyconquest_rules.headers.elements import KNOWN_VRS, LONG_VRS, WINDOW, TooMany, Window
from pyconquest_rules.headers.layouts import Found, Layouts
from pyconquest_rules.headers.notes import Note
from pyconquest_rules.headers.scanning import encoding
from pyconquest_rules.headers.stepping import every

INFLATED_LIMIT = 64 * 1024 * 1024
"""A deflated data set (PS3.5 A.5) of more bytes is refused: it is inflated in memory."""

MEDIA_STORAGE_SOP_CLASS, TRANSFER_SYNTAX = 0x00020002, 0x00020010
META_TAGS = frozenset({MEDIA_STORAGE_SOP_CLASS, TRANSFER_SYNTAX})
SOP_CLASS, SOP_INSTANCE = 0x00080016, 0x00080018
DIRECTORY = "1.2.840.10008.1.3.10"
DEFLATED = "1.2.840.10008.1.2.1.99"

# Wider than PS3.5 9.1: tools that de-identify put UUIDs where UIDs belong.
UID = re.compile(r"(?=.*[0-9])[0-9A-Fa-f][0-9A-Fa-f.-]{0,63}")

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


class Header(NamedTuple):
    """What was read of an instance. `values` has a text or None for each of the wanted paths, in their order.

    For a path over all items of a sequence it has a tuple of these, one for each item; None where there is no sequence.
    `notes` are the oddities of the file, each of which cost no more than a value.
    """

    SOPInstanceUID: str
    TransferSyntaxUID: str | None
    values: tuple[Value, ...]
    content: str | None = None
    notes: tuple[Note, ...] = ()


class Reader:
    """Reads the headers of many files. What it remembers of them makes it fast, and changes no value."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._layouts = Layouts(wanted.paths, wanted.tags, (SOP_CLASS, SOP_INSTANCE))

    def read(self, path: str | os.PathLike[str] | bytes) -> Header:
        """The header of the file at `path`, with the wanted values as `values.text` gives them.

        The SOPInstanceUID is that of the data set, not of the file meta information (PS3.10 7.1). A file is DICOM by its
        content: `DICM` after 128 bytes, or else elements with a SOP Class UID and a SOP Instance UID. What comes after the
        pixel data is not read.

        Raises Rejected, and nothing else whatever is found at `path`: where it is not a regular file or cannot be read, is
        not DICOM, ends too early (within the pixel data too), breaks the encoding of PS3.5, is a DICOMDIR, or has no SOP
        Instance UID of 1 to 64 hexadecimal digits, dots and dashes.
        """
        try:
            # O_NONBLOCK: opening a FIFO would wait for somebody who writes.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                return self._read(descriptor)
            finally:
                os.close(descriptor)
        except Exception as error:  # noqa: BLE001  no bytes of a foreign file may end the run
            reason = _reason(error)
        # Not in the handler: no error that could have values of the file in its text becomes the context of this one.
        raise Rejected(reason)

    def _read(self, descriptor: int) -> Header:
        window, start, sop_class, syntax, bare = _opened(descriptor)
        found = self._found(window, start, bare=bare)
        if found.ended_at == DIRECTORY_RECORDS or DIRECTORY in (sop_class, found.SOPClassUID):
            raise Rejected(Reason.DICOMDIR)
        uid = found.SOPInstanceUID
        valid = uid is not None and UID.fullmatch(uid)
        if bare and not (valid and found.SOPClassUID):
            raise Rejected(Reason.NOT_DICOM)
        if not uid or not valid:
            raise Rejected(Reason.BAD_SOP_INSTANCE_UID if uid else Reason.NO_SOP_INSTANCE_UID)
        return Header(uid, syntax if UID.fullmatch(syntax) else None, found.values, notes=_sorted(window.notes))

    def _found(self, window: Window, start: int, *, bare: bool) -> Found:
        of_meta = _sorted(window.notes)
        if not (bare or of_meta):
            with suppress(Odd, EOFError):
                return self._layouts.read(window, start)
        window.notes.intersection_update(of_meta)
        window.renew()
        dataset = DataSet.read(window, start, encoding(window, start), self.wanted.tags)
        values = tuple(map(dataset.found, self.wanted.paths))
        return Found(values, _text(dataset.value(SOP_CLASS)), _text(dataset.value(SOP_INSTANCE)), dataset.ended_at)


@lru_cache(4)
def reader(wanted: Wanted) -> Reader:
    """The Reader of this process for these elements: it is the faster the more it has read."""
    return Reader(wanted)


def read(path: str | os.PathLike[str] | bytes, wanted: Wanted) -> Header:
    """The header of one file, as a Reader gives it. Raises Rejected."""
    return reader(wanted).read(path)


def check_elements(path: bytes, most: int) -> None:
    """Looks at every element of a file, nested ones too. Raises TooMany where there are more than `most`."""
    with open(path, "rb") as file:
        window, start, *_ = _opened(file.fileno())
        if start > WINDOW:  # file meta information of some hundred elements
            raise TooMany
        every(window, start, *encoding(window, start)[:2], most)


def _opened(descriptor: int) -> tuple[Window, int, str, str, bool]:
    """The bytes of a data set, where it begins, its Media Storage SOP Class and Transfer Syntax UIDs, and whether it is bare.

    Bare are those without the preamble of PS3.10 7.1. Raises Rejected for what is no regular file, not DICOM or too large.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise Rejected(Reason.UNREADABLE if stat.S_ISDIR(status.st_mode) else Reason.NOT_A_FILE)
    window = Window(os.pread(descriptor, WINDOW, 0), status.st_size, descriptor)
    start = _start(window.data[:132])
    sop_class, syntax, end = _meta(window, start)
    if syntax == DEFLATED:
        return _inflated(window, end), 0, sop_class, syntax, False
    return window, end, sop_class, syntax, start == 0


def _reason(error: Exception) -> Reason:
    match error:
        case Rejected():
            return error.reason
        case OSError():
            return Reason.UNREADABLE
        case EOFError():
            return Reason.TRUNCATED
        case MemoryError() | TooMany():
            return Reason.TOO_LARGE
        case _:
            return Reason.MALFORMED


def _start(head: bytes) -> int:
    """Where the first element is. Without the preamble of PS3.10 7.1 that is 0, and it must look like one."""
    if head[128:] == b"DICM":
        return 132
    if BARE.match(head):
        return 0
    raise Rejected(Reason.NOT_DICOM)


META_HEAD, META_LENGTH = Struct("<HH2sH").unpack_from, Struct("<I").unpack_from


def _meta(window: Window, start: int) -> tuple[str, str, int]:
    """Of the file meta information at `start` (PS3.10 7.1) the Media Storage SOP Class and Transfer Syntax UIDs, and its end.

    What is odd in it, as where there is none, is read the careful way.
    """
    found, position, data = dict[int, bytes](), start, window.data
    with suppress(error):
        while True:
            group, number, vr, length = META_HEAD(data, position)
            if group != 2 and found:
                return _text(found.get(0x0002, b"")), _text(found.get(0x0010, b"")), position
            value = position + 8
            if group != 2 or vr not in KNOWN_VRS:
                break
            if vr in LONG_VRS:
                value, (length,) = position + 12, META_LENGTH(data, position + 8)
            position = value + length
            found[number] = data[value:position]
    meta = DataSet.read(window, start, encoding(window, start), META_TAGS, lambda tag: tag >> 16 != 2)
    return _text(meta.value(MEDIA_STORAGE_SOP_CLASS)), _text(meta.value(TRANSFER_SYNTAX)), meta.end


def _inflated(window: Window, start: int) -> Window:
    """The data set at `start` without the compression of PS3.5 A.5."""
    engine, data, position = zlib.decompressobj(-zlib.MAX_WBITS), BytesIO(), start
    while not engine.eof:
        chunk = engine.unconsumed_tail
        if not chunk:
            chunk = window.at(position, WINDOW)
            position += len(chunk)
        part = engine.decompress(chunk, 1 << 20)
        data.write(part)
        if not (chunk or part):
            raise Rejected(Reason.TRUNCATED)
        if data.tell() > INFLATED_LIMIT:
            raise Rejected(Reason.TOO_LARGE)
    return Window(data.getvalue(), data.tell())


def _sorted(notes: set[Note]) -> tuple[Note, ...]:
    return tuple(sorted(notes)) if notes else ()


def _text(raw: bytes) -> str:
    return raw.rstrip(b" \0").decode("latin-1")
