"""Write the DICOMDIR of a file-set (PS3.10 8): the same bytes from the same instances.

Nothing is invented: an element that the Standard requires and that an instance lacks is empty. The records wait in a temporary
database, because a file-set may be larger than the memory.
"""

import os
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from struct import pack
from types import TracebackType
from uuid import UUID

from pyconquest_rules.content import NotTransformed
from pyconquest_rules.headers.header import reader
from pyconquest_rules.headers.opening import Rejected
from pyconquest_rules.kinds.archive.records import LOWER_AT, NEXT_AT, element, header_of, records, wanted
from pyconquest_rules.network.part10 import GROUP_LENGTH, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, PREAMBLE

NAME = "DICOMDIR"
MEDIA_STORAGE_DIRECTORY, EXPLICIT_LITTLE = "1.2.840.10008.1.3.10", "1.2.840.10008.1.2.1"
TABLE = """
CREATE TABLE record (
    patient TEXT, study TEXT, series TEXT, file_id TEXT, of_patient BLOB, of_study BLOB, of_series BLOB, own BLOB,
    PRIMARY KEY (patient, study, series, file_id)) WITHOUT ROWID
"""
LARGEST = 0xFFFFFFFE
"""The limit on the size of the records in bytes: offsets have 32 bits."""
MOST_WRITTEN = 1 << 20


class Directory:
    """The DICOMDIR of instances that are added one by one. The records of a level that several have are those of the first."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute(TABLE)

    def __enter__(self) -> "Directory":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def add(self, file_id: str, file: int) -> None:
        """Add the instance in an open file. Raises NotTransformed if a DICOMDIR cannot have it."""
        try:
            header = reader(wanted()).read_open(file)
        except Rejected as rejected:
            raise NotTransformed(f"a DICOMDIR cannot have it: {rejected.reason}") from None
        patient, study, series, levels = records(header, file_id)
        row = (patient, study, series, file_id, *levels)
        self._connection.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def write(self, target: int) -> int:
        """Write the DICOMDIR to an empty file. Return its size. Raises NotTransformed, OSError."""
        digest, size = sha256(), 0
        for _, record in self._records():
            digest.update(record)
            size += len(record)
        head = _meta(digest.digest())
        first = len(head) + len(_directory(0, 0, 0))
        if first + size > LARGEST:
            raise NotTransformed("its instances are too many for a DICOMDIR")
        position, latest, top = first, [0, 0, 0, 0], 0
        os.lseek(target, first, os.SEEK_SET)
        with open(target, "wb", MOST_WRITTEN, closefd=False) as file:
            offsets = list[tuple[int, int]]()
            for level, record in self._records():
                if latest[level]:
                    offsets.append((latest[level] + NEXT_AT, position))
                elif level:
                    offsets.append((latest[level - 1] + LOWER_AT, position))
                latest[level:] = [position, *[0] * (3 - level)]
                top = position if level == 0 else top
                file.write(record)
                position += len(record)
                if len(offsets) > 1000:
                    file.flush()
                    _patch(target, offsets)
            file.flush()
            _patch(target, offsets)
        os.pwrite(target, head + _directory(first if size else 0, top, size), 0)
        return position

    def _records(self) -> Iterator[tuple[int, bytes]]:
        """Yield the records with their levels: a patient, its first study, the first series of that, its instances, and so on."""
        above: list[str] = []
        for row in self._connection.execute("SELECT * FROM record ORDER BY patient, study, series, file_id"):
            keys, bodies = [*row[:3]], row[4:]
            same = next((level for level in range(3) if keys[: level + 1] != above[: level + 1]), 3)
            yield from ((level, bodies[level]) for level in range(same, 4))
            above = keys


def _patch(target: int, offsets: list[tuple[int, int]]) -> None:
    for at, offset in offsets:
        os.pwrite(target, pack("<L", offset), at)
    offsets.clear()


def _meta(digest: bytes) -> bytes:
    """Return preamble and File Meta Information. Its UID comes from a digest, and always has the same length."""
    # A name-based UUID (version 5) whose first bit is set has 39 digits.
    uid = UUID(bytes=bytes([digest[0] | 0x80]) + digest[1:16], version=5).int
    elements = (
        pack("<HH2sxxL", 2, 1, b"OB", 2) + b"\0\1",
        element("MediaStorageSOPClassUID", MEDIA_STORAGE_DIRECTORY),
        element("MediaStorageSOPInstanceUID", f"2.25.{uid}"),
        element("TransferSyntaxUID", EXPLICIT_LITTLE),
        element("ImplementationClassUID", IMPLEMENTATION_CLASS_UID),
        element("ImplementationVersionName", IMPLEMENTATION_VERSION_NAME),
    )
    return PREAMBLE + GROUP_LENGTH.pack(2, 0, b"UL", 4, sum(map(len, elements))) + b"".join(elements)


def _directory(first: int, last: int, size: int) -> bytes:
    """Return the elements before the records: the offsets of the first and last patient, and the size of all records."""
    return b"".join(
        (
            element("FileSetID", ""),
            element("OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity", str(first)),
            element("OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity", str(last)),
            element("FileSetConsistencyFlag", "0"),
            header_of("DirectoryRecordSequence", size),
        )
    )
