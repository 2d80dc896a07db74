"""Data elements (PS3.5 section 7), and windows on the bytes of a file. MOST_STEPS bounds the work on one file."""

import os
from typing import Literal, NamedTuple

from pyconquest_rules.archives.blocks import Bytes
from pyconquest_rules.headers.notes import Note

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
DELIMITERS = frozenset({ITEM_END, SEQUENCE_END})
WITHOUT_VR = DELIMITERS | {ITEM}

# VRs with a length of 16 bits and of 32 bits in explicit VR (PS3.5 7.1.2).
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
KNOWN_VRS = SHORT_VRS | LONG_VRS

WINDOW = 16 * 1024
"""How many bytes of a file are read at once. Most headers are shorter. Longer elements are skipped."""

MOST_STEPS = 2_000_000
"""The limit on the elements that are visited in one file: some seconds. A structure set of 100,000 contours has 500,000."""

WINDOW_STEPS = 400
"""The steps for skipping one window of nested elements, which takes about 200 times as long as visiting one element."""

Order = Literal["little", "big"]


class TooMany(Exception):
    """The file has too many elements to read in reasonable time."""


class Window:
    """The bytes of a file, part of which is in memory: `data`, from position `base` on. `size` is the size of the file.

    `notes` are the oddities that were found while reading.
    """

    __slots__ = ("_descriptor", "_left", "base", "data", "notes", "size")

    def __init__(self, data: bytes, size: int, descriptor: int | None = None) -> None:
        """`data` are the first bytes of the file, or all of them if there is no descriptor."""
        self.data, self.base, self.size, self._descriptor, self._left = data, 0, size, descriptor, MOST_STEPS
        self.notes: set[Note] = set()

    def renew(self) -> None:
        """Restart the count of steps."""
        self._left = MOST_STEPS

    def step(self, number: int) -> None:
        """Count visited elements. Raises TooMany if there were more than MOST_STEPS."""
        self._left -= number
        if self._left < 0:
            raise TooMany

    def at(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position` on, or fewer at the end of the file."""
        start = position - self.base
        if (start >= 0 and start + length <= len(self.data)) or self._descriptor is None:
            return self.data[start : start + length]
        if length > WINDOW:
            return os.pread(self._descriptor, length, position)
        self.data, self.base = os.pread(self._descriptor, WINDOW, position), position
        return self.data[:length]


class MemberWindow(Window):
    """A window on the bytes of a member of an archive."""

    __slots__ = ("_bytes",)

    def __init__(self, data: Bytes, size: int) -> None:
        """Raises Flawed, OSError."""
        super().__init__(data.at(0, WINDOW), size)
        self._bytes = data

    def at(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position` on, or fewer at the end of the member. Raises Flawed, OSError."""
        start = position - self.base
        if start >= 0 and start + length <= len(self.data):
            return self.data[start : start + length]
        if length > WINDOW:
            return self._bytes.at(position, length)
        self.data, self.base = self._bytes.at(position, WINDOW), position
        return self.data[:length]


class Element(NamedTuple):
    """An element or item: its tag, its VR ("" if the file has none of the Standard), and length and position of its value."""

    tag: int
    vr: str
    length: int
    position: int


def tag_of(found: bytes, order: Order) -> int:
    """Return the tag in four bytes."""
    return int.from_bytes(found[:2], order) << 16 | int.from_bytes(found[2:4], order)
