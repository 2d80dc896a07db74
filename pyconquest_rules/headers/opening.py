"""The beginning of a file: its preamble, its file meta information (PS3.10 7.1), and the position of its data set."""

import os
import re
import stat
import zlib
from contextlib import suppress
from enum import StrEnum
from io import BytesIO
from struct import Struct, error
from typing import NamedTuple

from pyconquest_rules.headers.dataset import DataSet
from pyconquest_rules.headers.elements import KNOWN_VRS, LONG_VRS, WINDOW, Window
from pyconquest_rules.headers.scanning import encoding

INFLATED_LIMIT = 64 * 1024 * 1024
"""A deflated data set (PS3.5 A.5) with more bytes is rejected, because it is inflated in memory."""

MEDIA_STORAGE_SOP_CLASS, TRANSFER_SYNTAX = 0x00020002, 0x00020010
META_TAGS = frozenset({MEDIA_STORAGE_SOP_CLASS, TRANSFER_SYNTAX})
DEFLATED = "1.2.840.10008.1.2.1.99"

# A first element of group 0002 or 0008, in little or big endian, with a VR or a length.
BARE = re.compile(rb"([\2\10]\0.\0|\0[\2\10]\0.)([A-Z][A-Z]|..\0\0)", re.DOTALL)


class Reason(StrEnum):
    """Why a file is rejected."""

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
    """The file is not an instance that can be indexed. The error has the reason, and no text of the file."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Opened(NamedTuple):
    """The bytes of a data set, its start in them, and the SOP class and transfer syntax of the file meta information.

    A `bare` file has no preamble (PS3.10 7.1). `offset` is the start of the data set in the file, deflated or not.
    """

    window: Window
    start: int
    sop_class: str
    syntax: str
    bare: bool
    offset: int


def opened(descriptor: int) -> Opened:
    """Return the data set of an open file. Raises Rejected if it is not a regular file, not DICOM or too large, or EOFError."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise Rejected(Reason.UNREADABLE if stat.S_ISDIR(status.st_mode) else Reason.NOT_A_FILE)
    return data_set(Window(os.pread(descriptor, WINDOW, 0), status.st_size, descriptor))


def data_set(window: Window) -> Opened:
    """Return the data set of the file that a window is on. Raises Rejected if it is not DICOM or too large, or EOFError."""
    start = _start(window.data[:132])
    sop_class, syntax, end = meta(window, start)
    if syntax == DEFLATED:
        return Opened(inflated(window, end), 0, sop_class, syntax, False, end)
    return Opened(window, end, sop_class, syntax, start == 0, end)


def data_set_start(descriptor: int) -> int:
    """Return where the data set of an open file begins, with or without preamble. Raises Rejected or EOFError if it has none."""
    window = Window(os.pread(descriptor, WINDOW, 0), os.fstat(descriptor).st_size, descriptor)
    return meta(window, _start(window.data[:132]))[2]


def _start(head: bytes) -> int:
    """Return the position of the first element. It is 0 without a preamble (PS3.10 7.1), if the bytes there look like one.

    Raises Rejected for other bytes.
    """
    if head[128:] == b"DICM":
        return 132
    if BARE.match(head):
        return 0
    raise Rejected(Reason.NOT_DICOM)


META_HEAD, META_LENGTH = Struct("<HH2sH").unpack_from, Struct("<I").unpack_from


def meta(window: Window, start: int) -> tuple[str, str, int]:
    """Return Media Storage SOP Class UID, Transfer Syntax UID and end of the file meta information at `start` (PS3.10 7.1).

    If it is missing or irregular, the careful reader reads it.
    """
    found, position, data = dict[int, bytes](), start, window.data
    with suppress(error):
        while True:
            group, number, vr, length = META_HEAD(data, position)
            if group != 2 and found:
                return text_of_uid(found.get(0x0002, b"")), text_of_uid(found.get(0x0010, b"")), position
            value = position + 8
            if group != 2 or vr not in KNOWN_VRS:
                break
            if vr in LONG_VRS:
                value, (length,) = position + 12, META_LENGTH(data, position + 8)
            position = value + length
            found[number] = data[value:position]
    found_meta = DataSet.read(window, start, encoding(window, start), META_TAGS, lambda tag: tag >> 16 != 2)
    return text_of_uid(found_meta.value(MEDIA_STORAGE_SOP_CLASS)), text_of_uid(found_meta.value(TRANSFER_SYNTAX)), found_meta.end


def inflated(window: Window, start: int) -> Window:
    """Return the data set at `start`, inflated (PS3.5 A.5). Raises Rejected if it is truncated or too large."""
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


def text_of_uid(raw: bytes) -> str:
    """Return the text of a UID without the padding around it."""
    return raw.strip(b" \0").decode("latin-1")
