"""Data sets as bytes, in any encoding, right or wrong: what no toolkit writes."""

import struct
import zlib

CT = "1.2.840.10008.5.1.4.1.1.2"
LONG = {"OB", "OW", "SQ", "UN", "UT"}
UNDEFINED = 0xFFFFFFFF


def element(tag: int, vr: str, value: bytes | str, how: str = "explicit", length: int | None = None) -> bytes:
    """An element in `explicit` or `implicit` VR little endian, or explicit VR `big` endian; its length may be a wrong one."""
    data = value.encode() if isinstance(value, str) else value
    data += (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(data) % 2)
    length = len(data) if length is None else length
    order = ">" if how == "big" else "<"
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if how == "implicit":
        return head + struct.pack("<I", length) + data
    sized = struct.pack(f"{order}HI", 0, length) if vr in LONG else struct.pack(f"{order}H", length)
    return head + vr.encode() + sized + data


def item(data: bytes, tag: int = 0xFFFEE000) -> bytes:
    """An item, or a delimiter, in little endian."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(data)) + data


ENCAPSULATED = item(b"") + item(b"\xff\xd8\xff\xd9") + item(b"", 0xFFFEE0DD)


def data_set(
    uid: str,
    how: str = "explicit",
    *,
    sop_class: str = CT,
    patient: str = "P1",
    series: str = "1.2.3.1",
    number: int = 1,
    text: str = "one",
    pixels: bytes | None = b"\1\2\3\4",
    encapsulated: bool = False,
) -> bytes:
    """A slice of a series, one of 1 mm each. `deflated` is explicit VR little endian, compressed."""
    if how == "deflated":
        engine = zlib.compressobj(wbits=-15)
        plain = data_set(uid, sop_class=sop_class, patient=patient, series=series, number=number, text=text, pixels=pixels)
        data = engine.compress(plain) + engine.flush()
        return data + bytes(len(data) % 2)
    texts = [
        (0x00080016, "UI", sop_class),
        (0x00080018, "UI", uid),
        (0x00080060, "CS", "CT"),
        (0x00081030, "LO", text),
        (0x00100020, "LO", patient),
        (0x0020000D, "UI", "1.2.3"),
        (0x0020000E, "UI", series),
        (0x00200013, "IS", str(number)),
        (0x00200032, "DS", f"0\\0\\{number}"),
        (0x00200037, "DS", "1\\0\\0\\0\\1\\0"),
    ]
    body = b"".join(element(tag, vr, value, how) for tag, vr, value in texts if value)
    if encapsulated:
        return body + element(0x7FE00010, "OB", ENCAPSULATED, how, UNDEFINED)
    return body if pixels is None else body + element(0x7FE00010, "OW", pixels, how)
