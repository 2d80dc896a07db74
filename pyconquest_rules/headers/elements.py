"""Data elements (PS3.5 section 7), and the bytes of a file that they are in. No file costs more than MOST_STEPS."""

import os
from typing import Literal, NamedTuple

from pyconquest_rules.headers.notes import Note

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
    """The bytes of a file, of which a part is in memory: `data`, from position `base` on. `size` is that of the whole file.

    `notes` are the oddities that were met while reading.
    """

    __slots__ = ("_descriptor", "_left", "base", "data", "notes", "size")

    def __init__(self, data: bytes, size: int, descriptor: int | None = None) -> None:
        """`data` are the first bytes; without a descriptor all there are."""
        self.data, self.base, self.size, self._descriptor, self._left = data, 0, size, descriptor, MOST_STEPS
        self.notes: set[Note] = set()

    def renew(self) -> None:
        """Begins to count elements anew."""
        self._left = MOST_STEPS

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
    """An element or item: its tag, its VR if the file has one of the Standard's, and where its value is."""

    tag: int
    vr: str
    length: int
    position: int


def tag_of(found: bytes, order: Order) -> int:
    """The tag that four bytes hold."""
    return int.from_bytes(found[:2], order) << 16 | int.from_bytes(found[2:4], order)
