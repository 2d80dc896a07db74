"""Where the elements of a data set are in the bytes of a file, and where they end (PS3.5 section 7).

No length is believed that reaches beyond the file. Nested sequences cost neither recursion nor memory, however deep they are,
and no file costs more than MOST_STEPS.
"""

import os
from collections.abc import Callable, Mapping
from struct import Struct, error
from typing import Literal, NamedTuple

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
DELIMITERS = frozenset({ITEM_END, SEQUENCE_END})
WITHOUT_VR = DELIMITERS | {ITEM}

# By the bytes of their lengths in explicit VR (PS3.5 7.1.2).
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
KNOWN_VRS = SHORT_VRS | LONG_VRS

# Most headers are shorter. What is longer, as private elements of MR can be, is stepped over, and read on behind it.
WINDOW = 16 * 1024

# Elements that are looked at in one file: some seconds. A structure set with 100,000 contours has 500,000 of them.
MOST_STEPS = 2_000_000
# What stepping over nested elements costs for each window of them: some 200 times as much as looking at one.
WINDOW_STEPS = 400

Order = Literal["little", "big"]


class TooMany(Exception):
    """The file has more elements than anybody should wait for."""


class Window:
    """The bytes of a file, of which a part is in memory: `data`, from position `base` on. `size` is that of the whole file."""

    __slots__ = ("_descriptor", "_left", "base", "data", "size")

    def __init__(self, data: bytes, size: int, descriptor: int | None = None) -> None:
        """`data` are the first bytes; without a descriptor all there are."""
        self.data, self.base, self.size, self._descriptor, self._left = data, 0, size, descriptor, MOST_STEPS

    def step(self, number: int) -> None:
        """Counts elements that were looked at. Raises TooMany."""
        self._left -= number
        if self._left < 0:
            raise TooMany

    def at(self, position: int, length: int) -> bytes:
        """The bytes from `position` on, fewer than `length` at the end of the file."""
        start = position - self.base
        if (start >= 0 and start + length <= len(self.data)) or self._descriptor is None:
            return self.data[start : start + length]
        if length > WINDOW:
            return os.pread(self._descriptor, length, position)
        self.data, self.base = os.pread(self._descriptor, WINDOW, position), position
        return self.data[:length]


class Element(NamedTuple):
    """An element or item: its tag, its VR if the file tells one, and where its value is."""

    tag: int
    vr: str
    length: int
    position: int


def head(window: Window, position: int, order: Order, implicit: bool) -> Element:
    """The element at `position`. One without a VR among explicit ones is implicit, as some writers mix the two.

    Raises EOFError where the file ends within its head.
    """
    found = window.at(position, 12)
    if len(found) < 8:
        raise EOFError
    tag = int.from_bytes(found[:2], order) << 16 | int.from_bytes(found[2:4], order)
    vr = found[4:6]
    if implicit or tag in WITHOUT_VR or not is_vr(vr):
        return Element(tag, "", int.from_bytes(found[4:8], order), position + 8)
    if vr not in LONG_VRS:
        return Element(tag, vr.decode(), int.from_bytes(found[6:8], order), position + 8)
    if len(found) < 12:
        raise EOFError
    return Element(tag, vr.decode(), int.from_bytes(found[8:], order), position + 12)


def is_vr(code: bytes) -> bool:
    """Whether two bytes look like a VR."""
    return code.isalpha() and code.isupper()


HEADS: Mapping[Order, Callable[..., tuple[int, int, bytes, int]]] = {
    "little": Struct("<HH2sH").unpack_from,
    "big": Struct(">HH2sH").unpack_from,
}
LENGTHS: Mapping[Order, Callable[..., tuple[int]]] = {"little": Struct("<I").unpack_from, "big": Struct(">I").unpack_from}


def behind(window: Window, element: Element, order: Order, implicit: bool) -> int:
    """The position behind an element or item, whatever is nested in it. Raises EOFError where that is beyond the file."""
    position = element.position
    if element.length == UNDEFINED_LENGTH:
        position = _behind_delimiter(window, position, order, element.tag == ITEM, implicit or element.vr == "UN")
    else:
        position += element.length
    if position > window.size:
        raise EOFError
    return position


ITEMS, IMPLICIT = 1, 2


def _behind_delimiter(window: Window, position: int, order: Order, item: bool, implicit: bool) -> int:
    """The position behind the delimiter of a sequence or item. Heads are read as `head` does, but private sequences are long."""
    unpack, unpack_length, data, base = HEADS[order], LENGTHS[order], b"", position
    nested = bytearray([ITEMS * item | IMPLICIT * implicit])  # what waits for its delimiter, a byte each
    at = 0
    while nested:
        try:
            group, number, vr, length = unpack(data, at)
            tag = group << 16 | number
            if implicit or tag in WITHOUT_VR:
                (length,), at = unpack_length(data, at + 4), at + 8
                if length == UNDEFINED_LENGTH:
                    nested.append(ITEMS * (tag == ITEM) | IMPLICIT * implicit)
                elif tag in DELIMITERS:
                    _close(nested, tag)
                    implicit = bool(nested) and bool(nested[-1] & IMPLICIT)
                else:
                    at += length
            elif vr in SHORT_VRS or (vr not in LONG_VRS and is_vr(vr)):
                at += 8 + length
            else:
                skipped = 12 if vr in LONG_VRS else 8
                (length,), at = unpack_length(data, at + skipped - 4), at + skipped
                if length == UNDEFINED_LENGTH:
                    implicit = vr == b"UN"  # PS3.5 6.2.2 note 2
                    nested.append(IMPLICIT * implicit)
                else:
                    at += length
        except error:  # here the window ends, or the file
            base, at, before = base + at, 0, data if at == 0 else b""
            data = window.at(base, WINDOW)
            window.step(WINDOW_STEPS)
            if before or len(data) < 8:
                raise EOFError from None
    return base + at


def _close(nested: bytearray, delimiter: int) -> None:
    """Ends the innermost item or sequence. The end of a sequence also ends an item left open; one too many is passed over."""
    if delimiter == SEQUENCE_END and nested[-1] & ITEMS:
        nested.pop()
    if nested and bool(nested[-1] & ITEMS) == (delimiter == ITEM_END):
        nested.pop()


def every(window: Window, position: int, order: Order, implicit: bool, most: int) -> None:
    """Looks at every element from `position` on, nested ones too. Raises TooMany for more than `most`, and EOFError."""
    item = ITEM.to_bytes(4, "big") if order == "big" else b"\xfe\xff\x00\xe0"
    for _ in range(most):
        if window.size - position < 8:
            return
        element = head(window, position, order, implicit)
        nested = element.tag in WITHOUT_VR or element.length == UNDEFINED_LENGTH
        # Sequences are known by their first item: of some the file tells no VR, or UN.
        holds = nested or (element.vr in ("SQ", "UN", "") and window.at(element.position, 4) == item)
        position = element.position + (0 if holds else element.length)
    raise TooMany
