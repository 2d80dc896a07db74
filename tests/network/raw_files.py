"""A writer of DICOM files that checks nothing: every byte is as asked for."""

import struct

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, JPEG = (f"1.2.840.10008.1.2{rest}" for rest in ("", ".1", ".2", ".1.99", ".4.50"))
LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
UNDEFINED = 0xFFFFFFFF
ITEM_END, SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def element(
    tag: int, vr: str, value: bytes | str = b"", explicit: bool = True, *, length: int | None = None, order: str = "<"
) -> bytes:
    """An element; its value is padded, unless a length is given."""
    data = value.encode() if isinstance(value, str) else value
    if length is None and len(data) % 2:
        data += b"\0" if vr in ("UI", "OB", "UN") else b" "
    size = len(data) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return head + struct.pack(f"{order}I", size) + data
    if vr in LONG:
        return head + vr.encode() + struct.pack(f"{order}HI", 0, size) + data
    return head + vr.encode() + struct.pack(f"{order}H", size) + data


def sequence(tag: int, items: list[bytes], explicit: bool = True, *, undefined: bool = False, vr: str = "SQ") -> bytes:
    """A sequence, whose length and whose items' lengths may be undefined."""
    head = [struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED if undefined else len(item)) for item in items]
    body = b"".join(start + item + ITEM_END * undefined for start, item in zip(head, items, strict=True))
    return element(tag, vr, body + SEQUENCE_END * undefined, explicit, length=UNDEFINED if undefined else len(body))


def instance(uid: str, explicit: bool = True, *, more: bytes = b"", order: str = "<") -> bytes:
    """A small data set; `more` is its end."""
    texts = ((0x00080016, "UI", CT), (0x00080018, "UI", uid), (0x00080060, "CS", "CT"), (0x00100020, "LO", "P1"))
    uids = ((0x0020000D, "UI", "1.2.1"), (0x0020000E, "UI", "1.2.2"))
    return b"".join(element(*each, explicit, order=order) for each in (*texts, *uids)) + more


def meta(uid: str, syntax: str, *, more: bytes = b"", group_length: int | None = None) -> bytes:
    """A preamble and file meta information, whose group length may be another one; -1 for none."""
    body = element(0x00020001, "OB", b"\0\1") + element(0x00020002, "UI", CT) + element(0x00020003, "UI", uid)
    body += element(0x00020010, "UI", syntax) + more
    length = len(body) if group_length is None else group_length
    return bytes(128) + b"DICM" + (element(0x00020000, "UL", struct.pack("<I", length)) if length >= 0 else b"") + body
