"""The preamble and File Meta Information of a file (PS3.10 7.1), written before a received data set."""

import os
import struct

IMPLEMENTATION_CLASS_UID = "2.25.146974545949937405723683374537453327879"
IMPLEMENTATION_VERSION_NAME = "PYCONQUEST_RULES"

PREAMBLE = bytes(128) + b"DICM"
GROUP_LENGTH = struct.Struct("<HH2sHI")


def file_meta_information(sop_class: str, sop_instance: str, transfer_syntax: str, source_ae_title: str) -> bytes:
    """Return preamble, prefix and File Meta Information of an instance. Its data set follows as received."""
    elements = b"".join(
        (
            struct.pack("<HH2sHI", 2, 1, b"OB", 0, 2) + b"\0\1",
            _element(0x0002, b"UI", sop_class),
            _element(0x0003, b"UI", sop_instance),
            _element(0x0010, b"UI", transfer_syntax),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _element(0x0016, b"AE", source_ae_title),
        )
    )
    return PREAMBLE + GROUP_LENGTH.pack(2, 0, b"UL", 4, len(elements)) + elements


def _element(number: int, vr: bytes, value: str) -> bytes:
    text = value.encode("ascii", "replace")
    text += (b"\0" if vr == b"UI" else b" ") * (len(text) % 2)
    return struct.pack("<HH2sH", 2, number, vr, len(text)) + text


def data_set_offset(file: int) -> int:
    """Return the offset of the data set in an open file that `file_meta_information` wrote. Raises ValueError."""
    head = os.pread(file, GROUP_LENGTH.size, len(PREAMBLE))
    if len(head) != GROUP_LENGTH.size:
        raise ValueError("the file is too short")
    *_, length = GROUP_LENGTH.unpack(head)
    return len(PREAMBLE) + GROUP_LENGTH.size + int(length)
