"""A raw writer of DICOM. It validates nothing, so that tests can write irregular and invalid files on purpose.

raw.file(raw.data_set({"PatientID": ("LO", "P1"), 0x00091010: ("??", b"x")}))
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from pyconquest_rules.dicom import tags

CT, PLAN, DOSE = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "481.5", "481.2"))
IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, JPEG = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99", ".4.50"))
ROOT = "1.2.826.0.1.3680043.10.11"
UNDEFINED = 0xFFFFFFFF
LONG_VRS = frozenset("OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # noqa: SIM905

Tag = int | str
Raw = bytes | str


@dataclass(frozen=True)
class Written:
    """The encoding of elements. `sign` is that of `struct`: `<` for little endian, `>` for big endian."""

    implicit: bool = False
    sign: str = "<"

    def element(self, tag: Tag, vr: Raw, value: Raw = b"", *, length: int | None = None, long: bool | None = None) -> bytes:
        """Return an element with any two bytes as its VR. `long`: its length has 32 bits. Default: as in PS3.5 7.1.2."""
        number, code, raw = tag_of(tag), raw_of(vr), padded(value, vr)
        size = len(raw) if length is None else length
        head = struct.pack(self.sign + "HH", number >> 16, number & 0xFFFF)
        if self.implicit:
            return head + struct.pack(self.sign + "L", size) + raw
        if vr in LONG_VRS if long is None else long:
            return head + code + b"\0\0" + struct.pack(self.sign + "L", size) + raw
        return head + code + struct.pack(self.sign + "H", size) + raw

    def item(self, content: bytes = b"", *, undefined: bool = False, length: int | None = None) -> bytes:
        """Return an item, of known length unless it is `undefined`."""
        if undefined:
            return self._mark(0xE000, UNDEFINED) + content + self.item_end()
        return self._mark(0xE000, len(content) if length is None else length) + content

    def item_end(self, length: int = 0) -> bytes:
        """Return an Item Delimitation Item."""
        return self._mark(0xE00D, length)

    def sequence_end(self, length: int = 0) -> bytes:
        """Return a Sequence Delimitation Item."""
        return self._mark(0xE0DD, length)

    def sequence(self, tag: Tag, *items: bytes, vr: Raw = "SQ", undefined: bool = False) -> bytes:
        """Return a sequence of items that `item` made."""
        if undefined:
            return self.element(tag, vr, b"".join(items) + self.sequence_end(), length=UNDEFINED, long=True)
        return self.element(tag, vr, b"".join(items), long=True)

    def fragments(self, *fragments: bytes, end: bytes | None = None) -> bytes:
        """Return encapsulated pixel data (PS3.5 A.4) with an empty offset table. `end` replaces the delimiter."""
        items = b"".join(map(self.item, (b"", *fragments)))
        return self.element("PixelData", "OB", items + (self.sequence_end() if end is None else end), length=UNDEFINED)

    def pixels(self, number: int = 16) -> bytes:
        """Return native pixel data of `number` one-byte pixels, with the elements that describe it."""
        small = {"SamplesPerPixel": 1, "Rows": 1, "Columns": number, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
        described = b"".join(self.element(tag, "US", struct.pack(self.sign + "H", value)) for tag, value in small.items())
        return described + self.element("PixelData", "OW", bytes(number))

    def data_set(self, elements: Mapping[Tag, tuple[Raw, Raw] | bytes]) -> bytes:
        """Return elements in the order of their tags. Bytes are a complete element."""
        order = sorted(elements.items(), key=lambda pair: tag_of(pair[0]))
        return b"".join(made if isinstance(made, bytes) else self.element(tag, *made) for tag, made in order)

    def instance(self, number: int = 1, more: Mapping[Tag, tuple[Raw, Raw] | bytes] | None = None) -> bytes:
        """Return the data set of an instance. Instances with different numbers belong to one series."""
        elements: dict[Tag, tuple[Raw, Raw] | bytes] = {
            "SOPClassUID": ("UI", CT),
            "SOPInstanceUID": ("UI", f"{ROOT}.{number}"),
            "StudyDate": ("DA", "20240203"),
            "Modality": ("CS", "CT"),
            "PatientName": ("PN", "Raw^Test"),
            "PatientID": ("LO", "P1"),
            "StudyInstanceUID": ("UI", f"{ROOT}.0.1"),
            "SeriesInstanceUID": ("UI", f"{ROOT}.0.2"),
            "InstanceNumber": ("IS", str(number)),
        }
        return self.data_set({tag_of(tag): made for tag, made in (elements | dict(more or {})).items()})

    def _mark(self, element: int, length: int) -> bytes:
        return struct.pack(self.sign + "HHL", 0xFFFE, element, length)


LITTLE, IMPLICIT_LITTLE, BIG = Written(), Written(implicit=True), Written(sign=">")


def file(data_set: bytes, syntax: str = EXPLICIT, *, uid: str = f"{ROOT}.1", sop_class: str = CT, more: bytes = b"") -> bytes:
    """Return a file: preamble, file meta information (PS3.10 7.1) with `more` elements at its end, and a data set."""
    uids = {0x00020002: sop_class, 0x00020003: uid, 0x00020010: syntax, 0x00020012: f"{ROOT}.9"}
    body = LITTLE.element(0x00020001, "OB", b"\0\1") + b"".join(LITTLE.element(tag, "UI", each) for tag, each in uids.items())
    length = LITTLE.element(0x00020000, "UL", struct.pack("<L", len(body + more)))
    return bytes(128) + b"DICM" + length + body + more + data_set


def tag_of(tag: Tag) -> int:
    """Return the number of a tag, from its keyword."""
    return tags()[tag] if isinstance(tag, str) else tag


def raw_of(value: Raw) -> bytes:
    """Return the bytes of a text."""
    return value.encode("latin-1") if isinstance(value, str) else value


def padded(value: Raw, vr: Raw) -> bytes:
    """Return a text in an even number of bytes; bytes stay as they are."""
    if isinstance(value, bytes) or len(value) % 2 == 0:
        return raw_of(value)
    return raw_of(value) + (b"\0" if vr == "UI" else b" ")
