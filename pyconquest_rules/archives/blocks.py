"""Bytes that can be read at any position: of a file, of a part of other bytes, or inflated ones."""

import os
from collections.abc import Iterator
from typing import NamedTuple, Protocol
from zlib import crc32

from pyconquest_rules.archives.flaws import Flaw, Flawed

BLOCK = 1 << 18


class Bytes(Protocol):
    """Bytes that can be read at any position."""

    def at(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position` on, or fewer at the end. Raises Flawed, OSError."""


class OpenFile(NamedTuple):
    """The bytes of an open file."""

    descriptor: int

    def at(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position` on, or fewer at the end. Raises OSError."""
        return os.pread(self.descriptor, length, position)


class Part(NamedTuple):
    """`size` of other bytes, from `start` on."""

    whole: Bytes
    start: int
    size: int

    def at(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position` on, or fewer at the end. Raises Flawed, OSError."""
        length = min(length, self.size - position)
        return self.whole.at(self.start + position, length) if length > 0 else b""


def blocks(data: Bytes, size: int, crc: int | None) -> Iterator[bytes]:
    """Yield `size` bytes, block by block. Raises Flawed if there are fewer, or others than the checksum says, and OSError."""
    position, checksum = 0, 0
    while position < size:
        block = data.at(position, min(BLOCK, size - position))
        if not block:
            raise Flawed(Flaw.DAMAGED)
        position += len(block)
        if crc is not None:
            checksum = crc32(block, checksum)
        yield block
    if crc is not None and (checksum != crc or data.at(size, 1)):
        raise Flawed(Flaw.DAMAGED)
