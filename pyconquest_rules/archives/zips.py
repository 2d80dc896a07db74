"""The members of a zip file (PKWARE APPNOTE 6.3), as its central directory has them."""

import stat
from bisect import bisect, insort
from collections.abc import Iterator
from functools import partial
from struct import Struct
from typing import NamedTuple

from pyconquest_rules.archives.blocks import Bytes, Part
from pyconquest_rules.archives.flaws import Budget, Flaw, Flawed, NotAnArchive
from pyconquest_rules.archives.inflating import RAW, Inflated
from pyconquest_rules.archives.members import MOST, Member
from pyconquest_rules.archives.names import is_safe

END, END64, LOCATOR, CENTRAL, LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
END_RECORD, END64_RECORD = Struct("<4s4H2LH"), Struct("<4sQ2H2L4Q")
CENTRAL_RECORD, LOCAL_RECORD = Struct("<4s6H3L5H2L"), Struct("<4s5H3L2H")
LONGEST_COMMENT, LOCATOR_SIZE = 65535, 20
MOST_DIRECTORY = 128 << 20
"""The limit on a central directory, which is read at once: it lies behind the members."""

STORED, DEFLATED = 0, 8
ENCRYPTED = 1 | 1 << 6 | 1 << 13  # the data; strong encryption; the directory too
UNIX = 3
MOST_RATIO = 1032
"""No deflated byte gives more bytes (https://zlib.net/zlib_tech.html)."""


class _Directory(NamedTuple):
    """Position, size and number of entries of a central directory, and how many bytes stand before the archive."""

    start: int
    size: int
    number: int
    before: int


class _Entry(NamedTuple):
    """An entry of the central directory."""

    made_by: int
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    offset: int
    name: bytes


def members(data: Bytes, size: int, budget: Budget) -> Iterator[Member]:
    """Yield the members of a zip file of `size` bytes. Raises Flawed, NotAnArchive, OSError."""
    where = _directory(data, size)
    taken, number = _Taken(), 0
    for entry in _entries(data.at(where.start, where.size), where.size):
        number += 1
        if number > MOST:
            raise Flawed(Flaw.TOO_MANY)
        if not (entry.name.endswith((b"/", b"\\")) and not entry.size):
            yield _member(data, entry._replace(offset=entry.offset + where.before), where.start, taken, budget)
    if number & 0xFFFF != where.number & 0xFFFF:
        raise Flawed(Flaw.DAMAGED_ARCHIVE)


def _directory(data: Bytes, size: int) -> _Directory:
    """Return where the central directory is. Raises NotAnArchive if nothing looks like a zip file, and Flawed."""
    start = max(0, size - END_RECORD.size - LONGEST_COMMENT)
    tail = data.at(start, size - start)
    at = len(tail)
    while (at := tail.rfind(END, 0, at)) >= 0:
        if at + END_RECORD.size <= len(tail) and (found := _ended(data, start + at, tail[at : at + END_RECORD.size])):
            return found
    if data.at(0, 4) in (LOCAL, END) or END in tail:
        raise Flawed(Flaw.DAMAGED_ARCHIVE)
    raise NotAnArchive


def _ended(data: Bytes, end: int, record: bytes) -> _Directory | None:
    """Return the directory before the record at `end`; None if there is no room for it."""
    _, disk, first_disk, _, number, size, offset, _ = END_RECORD.unpack(record)
    if 0xFFFF in (disk, number) or 0xFFFFFFFF in (size, offset):
        locator = data.at(end - LOCATOR_SIZE, LOCATOR_SIZE) if end >= LOCATOR_SIZE else b""
        if locator.startswith(LOCATOR):
            end -= LOCATOR_SIZE + END64_RECORD.size
            record = data.at(end, END64_RECORD.size) if end >= 0 else b""
            if not record.startswith(END64):
                return None
            *_, disk, first_disk, _, number, size, offset = END64_RECORD.unpack(record)
    if disk or first_disk or size + offset > end:
        return None
    if size > MOST_DIRECTORY:
        raise Flawed(Flaw.TOO_MANY)
    return _Directory(end - size, size, number, end - size - offset)


def _entries(directory: bytes, size: int) -> Iterator[_Entry]:
    at = 0
    while at < size:
        record = directory[at : at + CENTRAL_RECORD.size]
        if len(record) < CENTRAL_RECORD.size or not record.startswith(CENTRAL):
            raise Flawed(Flaw.DAMAGED_ARCHIVE)
        _, made_by, _, flags, method, _, _, crc, packed, full, names, extras, comment, _, _, mode, offset = CENTRAL_RECORD.unpack(
            record
        )
        name_at, at = at + CENTRAL_RECORD.size, at + CENTRAL_RECORD.size + names + extras + comment
        if at > size:
            raise Flawed(Flaw.DAMAGED_ARCHIVE)
        full, packed, offset = _large(directory[name_at + names :][:extras], [full, packed, offset])
        yield _Entry(made_by >> 8, flags, method, crc, packed, full, mode >> 16, offset, directory[name_at : name_at + names])


def _large(extra: bytes, numbers: list[int]) -> list[int]:
    """Return the numbers of an entry, with those that stand in its zip64 field (4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            for which, number in enumerate(numbers):
                if number == 0xFFFFFFFF:
                    if len(field) < 8:
                        raise Flawed(Flaw.DAMAGED_ARCHIVE)
                    numbers[which], field = int.from_bytes(field[:8], "little"), field[8:]
            break
        at += 4 + length
    return numbers


def _member(data: Bytes, entry: _Entry, end: int, taken: "_Taken", budget: Budget) -> Member:
    """Return the member of an entry. `end` is the end of all members."""
    if flaw := _flaw(entry):
        return Member(entry.name, 0, flaw=flaw)
    start = _start(data, entry) if entry.offset < end else None
    if start is None or start + entry.packed > end:
        return Member(entry.name, 0, flaw=Flaw.DAMAGED)
    if not taken.take(entry.offset, start + entry.packed):
        return Member(entry.name, 0, flaw=Flaw.OVERLAPPING)
    packed = Part(data, start, entry.packed)
    if entry.method == STORED:
        return Member(entry.name, entry.size, lambda: packed, crc=entry.crc)
    return Member(entry.name, entry.size, partial(Inflated, packed, RAW, budget), crc=entry.crc)


def _flaw(entry: _Entry) -> Flaw | None:
    """Return what is wrong with an entry of the directory."""
    if not is_safe(entry.name):
        return Flaw.UNSAFE_NAME
    kind = stat.S_IFMT(entry.mode) if entry.made_by == UNIX else 0
    if kind not in (0, stat.S_IFREG):
        return Flaw.NOT_REGULAR
    if entry.flags & ENCRYPTED:
        return Flaw.ENCRYPTED
    if entry.method not in (STORED, DEFLATED):
        return Flaw.UNSUPPORTED
    impossible = entry.size != entry.packed if entry.method == STORED else entry.size > entry.packed * MOST_RATIO
    return Flaw.DAMAGED if impossible else None


def _start(data: Bytes, entry: _Entry) -> int | None:
    """Return where the bytes of a member begin; None if its local header is not that of the entry."""
    record = data.at(entry.offset, LOCAL_RECORD.size)
    if len(record) < LOCAL_RECORD.size or not record.startswith(LOCAL):
        return None
    _, _, flags, method, *_, names, extras = LOCAL_RECORD.unpack(record)
    name = data.at(entry.offset + LOCAL_RECORD.size, names)
    if (name, method, flags & ENCRYPTED) != (entry.name, entry.method, entry.flags & ENCRYPTED):
        return None
    return entry.offset + LOCAL_RECORD.size + int(names) + int(extras)


class _Taken:
    """The parts of the file that members have. Few numbers suffice, because most members follow each other."""

    def __init__(self) -> None:
        self._parts = list[tuple[int, int]]()

    def take(self, start: int, end: int) -> bool:
        """Note a part. Return False if it overlaps another one."""
        at = bisect(self._parts, (start, end))
        before = self._parts[at - 1] if at else (0, 0)
        after = self._parts[at] if at < len(self._parts) else (end, end)
        if before[1] > start or after[0] < end:
            return False
        if at and before[1] == start:
            self._parts[at - 1] = (before[0], end)
        else:
            insort(self._parts, (start, end))
        return True
