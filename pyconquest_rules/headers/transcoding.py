"""Converting between implicit and explicit VR little endian (PS3.5 A.1, A.2). No byte of a value changes.

The result is a list of parts: bytes, and spans of the file for large values, which are never in memory. Defined lengths of
sequences and items are computed again. Group lengths (gggg,0000) are left out, because they are retired (PS3.5 7.2) and would
be wrong. A data set that cannot be converted exactly is rejected.
"""

from struct import Struct, error
from typing import NamedTuple

from pyconquest_rules.headers.dataset import PIXEL_DATA, PIXEL_REPRESENTATION, VRS, standard_vr
from pyconquest_rules.headers.elements import ITEM, ITEM_END, LONG_VRS, SEQUENCE_END, SHORT_VRS, UNDEFINED_LENGTH, TooMany, Window
from pyconquest_rules.headers.scanning import Encoding, scan_item
from pyconquest_rules.headers.sendable import Unsendable

TAG, LENGTH, SHORT, ITEM_HEAD = Struct("<HH"), Struct("<I"), Struct("<2sH"), Struct("<HHI")
PRIVATE_CREATORS = range(0x10, 0x100)
LONGEST_SHORT = 0xFFFE
"""The longest value of a VR with a length of two bytes, which is even (PS3.5 7.1.1). A longer one becomes UN (PS3.5 6.2.2)."""

LARGE = 4096
"""Values of this size or more stay in the file, as spans."""

CANNOT = "the node accepts the instance only in a transfer syntax to which it cannot be converted"

TEXTS = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"])
BYTES = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])


class Span(NamedTuple):
    """Bytes of a file."""

    start: int
    size: int


Part = bytes | bytearray | Span


class _Level(NamedTuple):
    """A sequence or an item that is being converted."""

    end: int | None  # None: a delimiter ends it
    is_item: bool
    explicit: bool  # whether its elements have explicit VRs in the file
    patch: tuple[bytearray, int] | None  # the position for its new length
    size: int  # the size of the result before its content
    signed: bool  # Pixel Representation, which items inherit


def transcoded(window: Window, start: int, size: int, *, explicit: bool) -> list[Part]:
    """Return the data set at `start` with explicit VRs, or with implicit ones if it has explicit ones. Raises Unsendable."""
    try:
        return _Transcoding(window, explicit).converted(start, start + size)
    except (error, EOFError):
        raise Unsendable(f"{CANNOT}: a sequence or a value does not end where its length says") from None
    except TooMany:
        raise Unsendable("the data set has too many elements") from None


class _Transcoding:
    """The conversion of one data set."""

    def __init__(self, window: Window, explicit: bool) -> None:
        self._window, self._explicit = window, explicit
        self._last = bytearray()
        self._parts: list[Part] = [self._last]
        self._size = 0  # of all parts but the last

    def converted(self, position: int, end: int) -> list[Part]:
        levels = [_Level(end, True, not self._explicit, None, 0, self._is_signed(position, end))]
        while True:
            level = levels[-1]
            if position == level.end:
                self._close(levels.pop())
                if not levels:
                    return self._parts
                continue
            if level.end is not None and position > level.end:
                raise EOFError
            self._window.step(1)
            tag, vr, length, value = self._head(position, level)
            if tag in (ITEM_END, SEQUENCE_END):
                if level.end is not None or level.is_item != (tag == ITEM_END):
                    raise Unsendable(f"{CANNOT}: a sequence or an item has an invalid end")
                self._close(levels.pop())
                position = value
            elif (tag == ITEM) == level.is_item:
                raise Unsendable(f"{CANNOT}: a sequence does not consist of items")
            elif tag == ITEM:
                levels.append(self._opened_item(level, length, value))
                position = value
            else:
                if tag == PIXEL_REPRESENTATION and length == 2:
                    signed = self._window.at(value, 2) == b"\1\0"
                    levels[-1] = level._replace(signed=signed)
                position = self._element(levels, tag, vr, length, value)

    def _is_signed(self, position: int, end: int) -> bool:
        """Return whether Pixel Representation, which decides the VR of other elements, is 1 at the top of the data set."""
        written = Encoding("little", implicit=self._explicit)
        found = scan_item(self._window, position, end, written, {PIXEL_REPRESENTATION}, PIXEL_DATA.__contains__)
        element = found.get(PIXEL_REPRESENTATION)
        return element is not None and self._window.at(element.position, 2) == b"\1\0"

    def _head(self, position: int, level: _Level) -> tuple[int, str, int, int]:
        """Return tag, VR, length and position of the value of the element at `position`."""
        found = self._window.at(position, 12)
        group, number = TAG.unpack_from(found)
        tag = group << 16 | number
        if tag in (ITEM, ITEM_END, SEQUENCE_END) or not level.explicit:
            return tag, "", LENGTH.unpack_from(found, 4)[0], position + 8
        vr, length = SHORT.unpack_from(found, 4)
        if vr in SHORT_VRS:
            return tag, vr.decode(), length, position + 8
        if vr not in LONG_VRS:
            raise Unsendable(f"{CANNOT}: an element has a VR that the Standard does not have")
        return tag, vr.decode(), LENGTH.unpack_from(found, 8)[0], position + 12

    def _element(self, levels: list[_Level], tag: int, vr: str, length: int, value: int) -> int:
        """Convert an element, or open it if it is a sequence. Return the position of the next one."""
        level = levels[-1]
        if tag & 0xFFFF == 0 and length != UNDEFINED_LENGTH:
            return value + length
        known = self._known_vr(tag, level.signed)
        if length == UNDEFINED_LENGTH and (tag in PIXEL_DATA or known not in ("SQ", "UN")):
            raise Unsendable(f"{CANNOT}: a value that is not a sequence has an undefined length")
        if length == UNDEFINED_LENGTH or vr == "SQ" or known == "SQ":
            self._check(tag, vr, known)
            levels.append(self._opened_sequence(level, tag, vr, length, value))
            return value
        if level.explicit:
            self._check(tag, vr, known)
        self._put_head(tag, known, length)
        self._put_value(value, length)
        return value + length

    def _known_vr(self, tag: int, signed: bool) -> str:
        """Return the VR of an element in implicit VR (PS3.5 A.1, PS3.6)."""
        vr = standard_vr(tag)
        if vr == "UN" and tag >> 16 & 1 and tag & 0xFFFF in PRIVATE_CREATORS:
            return "LO"  # PS3.5 7.8.1
        if "OW" in vr:
            return "OW"  # PS3.5 A.1: for pixel data, and for other elements that may be OW
        if vr.startswith("US or SS"):
            return "SS" if signed else "US"
        return vr if vr in VRS else "UN"

    def _check(self, tag: int, vr: str, known: str) -> None:
        """Raise Unsendable if a VR differs from PS3.6 in meaning. In implicit VR, readers use the VR of PS3.6."""
        alike = vr in ("", "UN", known) or known == "UN" or {vr, known} <= TEXTS or {vr, known} <= BYTES
        if not alike and vr not in standard_vr(tag).split(" or "):
            which = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
            raise Unsendable(f"{CANNOT}: the element {which} has another VR than in PS3.6, which implicit VR would lose")

    def _opened_sequence(self, above: _Level, tag: int, vr: str, length: int, value: int) -> _Level:
        """Begin a sequence. Items of a sequence with VR UN are implicit (PS3.5 6.2.2), unless their bytes have explicit VRs."""
        explicit = above.explicit
        if vr == "UN":
            first = self._window.at(value, 16)
            explicit = first[:4] == b"\xfe\xff\x00\xe0" and first[12:14] in SHORT_VRS | LONG_VRS
        at = self._put_head(tag, "SQ", length)
        end = None if length == UNDEFINED_LENGTH else value + length
        return _Level(end, False, explicit, None if end is None else (self._last, at), self._total(), above.signed)

    def _opened_item(self, above: _Level, length: int, value: int) -> _Level:
        self._last += ITEM_HEAD.pack(ITEM >> 16, ITEM & 0xFFFF, length)
        patch = None if length == UNDEFINED_LENGTH else (self._last, len(self._last) - 4)
        end = None if length == UNDEFINED_LENGTH else value + length
        return _Level(end, True, above.explicit, patch, self._total(), above.signed)

    def _close(self, level: _Level) -> None:
        """End a sequence or an item with a length or a delimiter, as in the file."""
        if level.patch is not None:
            LENGTH.pack_into(*level.patch, self._total() - level.size)
        elif level.end is None:
            tag = ITEM_END if level.is_item else SEQUENCE_END
            self._last += ITEM_HEAD.pack(tag >> 16, tag & 0xFFFF, 0)

    def _put_head(self, tag: int, vr: str, length: int) -> int:
        """Write the head of an element. Return the position of its length if that has four bytes, else -1."""
        self._last += TAG.pack(tag >> 16, tag & 0xFFFF)
        if self._explicit:
            if vr.encode() in SHORT_VRS and length <= LONGEST_SHORT:
                self._last += SHORT.pack(vr.encode(), length)
                return -1
            self._last += SHORT.pack(vr.encode() if vr.encode() in LONG_VRS else b"UN", 0)
        self._last += LENGTH.pack(length)
        return len(self._last) - 4

    def _put_value(self, position: int, length: int) -> None:
        if position + length > self._window.size:
            raise EOFError
        if length < LARGE:
            self._last += self._window.at(position, length)
            return
        self._size += len(self._last) + length
        self._last = bytearray()
        self._parts += [Span(position, length), self._last]

    def _total(self) -> int:
        return self._size + len(self._last)
