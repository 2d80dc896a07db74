"""Write zip and tar files: the same bytes from the same members, on every machine and in every version of Python.

Members are stored, with one fixed time and mode. The modules `zipfile` and `tarfile` keep every member in memory, and the bytes
that `zipfile` writes depend on the version of Python.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from struct import Struct
from tarfile import BLOCKSIZE, PAX_FORMAT, RECORDSIZE, TarInfo
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import ClassVar, Self
from zlib import crc32

from pyconquest_rules.disk.hashing import hashed, write_all

# 1980-01-01, the first day of a zip file. Earlier times than that are reported as implausible by some programs.
EPOCH, DOS_DATE = 315_532_800, 0x21
MODE = 0o644

LOCAL, CENTRAL, END = Struct("<4s5H3L2H"), Struct("<4s6H3L5H2L"), Struct("<4s4H2LH")
EXTRA, END_64, LOCATOR_64 = Struct("<2H"), Struct("<4sQ2H2L4Q"), Struct("<4sLQL")
# The position of the CRC in a local header.
CRC_AT, CRC = 14, Struct("<L")
# Larger numbers are in the fields of zip64.
MOST_16, MOST_32 = 0xFFFF, 0xFFFFFFFF
UNIX, PLAIN, ZIP_64, UTF_8 = 3, 20, 45, 0x800
# The directory at the end of a zip file is in memory up to this number of bytes.
IN_MEMORY = 4 << 20


class Archive(ABC):
    """An archive that is being written to an empty file, open for reading and writing at its beginning.

    It is complete at the end of its `with` block.
    """

    ending: ClassVar[str]
    """The end of the names of its files."""

    def __init__(self, target: int) -> None:
        self._target, self._at, self._stack = target, 0, ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack:
            if kind is None:
                self._finish()

    @abstractmethod
    def add(self, name: str, size: int, file: int) -> str:
        """Add the rest of an open file, of `size` bytes, as a member. Return the SHA-256 of these bytes. Raises OSError.

        If the file turns out to have another size, the archive is of no use.
        """

    @abstractmethod
    def _finish(self) -> None:
        """Write the end of the archive."""

    def _write(self, data: bytes) -> None:
        """Write bytes at the end of what is written."""
        self._at += len(data)
        write_all(self._target, memoryview(data))

    def _copy(self, size: int, file: int, also: Callable[[memoryview], None] | None = None) -> str:
        """Write the rest of a file. Return its SHA-256."""
        self._at += size
        return hashed(file, self._target, also)


class Tar(Archive):
    """A tar file in the format of POSIX.1-2001, with extended headers only where a name or a size needs one."""

    ending = ".tar"

    def add(self, name: str, size: int, file: int) -> str:
        """Add a member."""
        member = TarInfo(name)
        member.size, member.mtime, member.mode = size, EPOCH, MODE
        self._write(member.tobuf(PAX_FORMAT, "utf-8", "strict"))
        digest = self._copy(size, file)
        self._write(bytes(-self._at % BLOCKSIZE))
        return digest

    def _finish(self) -> None:
        """Write two empty blocks, and as many more as fill a record."""
        self._write(bytes(2 * BLOCKSIZE))
        self._write(bytes(-self._at % RECORDSIZE))


class Zip(Archive):
    """A zip file, with the fields of zip64 only where a number needs them (APPNOTE 6.3, 4.3)."""

    ending = ".zip"

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._number = 0
        self._directory = self._stack.enter_context(SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115  the stack closes it

    def add(self, name: str, size: int, file: int) -> str:
        """Add a member. Its CRC is known after its bytes, so it is written into the header afterwards."""
        at, written, crc = self._at, name.encode(), 0
        flags = 0 if name.isascii() else UTF_8
        large = is_large(size)
        sizes, extra = ((MOST_32, MOST_32), _extra(size, size)) if large else ((size, size), b"")
        version = ZIP_64 if large else PLAIN
        self._write(LOCAL.pack(b"PK\3\4", version, flags, 0, 0, DOS_DATE, 0, *sizes, len(written), len(extra)) + written + extra)

        def add_to_crc(block: memoryview) -> None:
            nonlocal crc
            crc = crc32(block, crc)

        digest = self._copy(size, file, add_to_crc)
        os.pwrite(self._target, CRC.pack(crc), at + CRC_AT)
        self._directory.write(_entry(written, flags, crc, size, at))
        self._number += 1
        return digest

    def _finish(self) -> None:
        """Write the directory."""
        at = self._at
        self._directory.seek(0)
        while block := self._directory.read(IN_MEMORY):
            self._write(block)
        number, size = self._number, self._at - at
        if number >= MOST_16 or is_large(size) or is_large(at):
            end, rest = self._at, END_64.size - 12
            versions = UNIX << 8 | ZIP_64, ZIP_64
            self._write(END_64.pack(b"PK\6\6", rest, *versions, 0, 0, number, number, size, at))
            self._write(LOCATOR_64.pack(b"PK\6\7", 0, end, 1))
        few = min(number, MOST_16)
        self._write(END.pack(b"PK\5\6", 0, 0, few, few, *map(_shown, (size, at)), 0))


ARCHIVES: tuple[type[Archive], ...] = (Zip, Tar)


def is_large(number: int) -> bool:
    """Return whether a size or a position does not fit into the fields of a plain zip file."""
    return number >= MOST_32


def _shown(number: int) -> int:
    """Return what the field of a plain zip file has of a number."""
    return MOST_32 if is_large(number) else number


def _entry(name: bytes, flags: int, crc: int, size: int, at: int) -> bytes:
    """Return the entry of the directory for a member whose header is `at` this position."""
    shown, where = _shown(size), _shown(at)
    extra = _extra(*filter(is_large, (size, size, at)))
    version = ZIP_64 if extra else PLAIN
    attributes = (0o100000 | MODE) << 16  # a regular file
    numbers = (UNIX << 8 | version, version, flags, 0, 0, DOS_DATE, crc, shown, shown, len(name), len(extra), 0, 0, 0)
    return CENTRAL.pack(b"PK\1\2", *numbers, attributes, where) + name + extra


def _extra(*numbers: int) -> bytes:
    """Return the extra field of zip64 with these numbers; nothing if there are none."""
    return EXTRA.pack(1, 8 * len(numbers)) + Struct(f"<{len(numbers)}Q").pack(*numbers) if numbers else b""
