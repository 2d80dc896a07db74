"""Where the index has its files: sources as devices, and the place of an instance."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from pyconquest_rules.disk.file import File
from pyconquest_rules.headers.opening import Reason


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an instance: the device and root of its source, and the file as it was indexed."""

    device: str
    root: Path
    file: File

    @property
    def path(self) -> Path:
        """The absolute path of the file."""
        return self.root / os.fsdecode(self.file.path)

    def is_there(self) -> bool:
        """Return whether the file still exists with the size that the index has. Raises OSError if that cannot be found out."""
        try:
            return self.path.stat().st_size == self.file.size
        except (FileNotFoundError, NotADirectoryError):
            return False


@dataclass(frozen=True, slots=True)
class Device:
    """A source as the index knows it: its MAG device and the real path of its root."""

    device: str
    root: Path


def place_of(connection: sqlite3.Connection, uid: str) -> Place | None:
    """Return the place of an instance; None if it is not indexed."""
    query = (
        "SELECT f.device, s.path, CAST(f.path AS BLOB), f.size, f.mtime_ns FROM rules_files f JOIN rules_sources s"
        " USING (device) WHERE f.SOPInstanceUID = ? AND f.outcome = 'indexed'"
    )
    row = connection.execute(query, (uid,)).fetchone()
    return Place(row[0], Path(row[1]), File(*row[2:])) if row else None


def known_files(connection: sqlite3.Connection, device: str) -> sqlite3.Cursor:
    """Return path, size and mtime_ns of the files of a device, in the byte order of their paths.

    A file that could not be read has size -1. It may be readable now, and its mtime would not show that: neither permissions,
    nor a repaired disk, nor more memory change it.
    """
    size = f"CASE WHEN reason IN ('{Reason.UNREADABLE}', '{Reason.READER_KILLED}') THEN -1 ELSE size END"
    query = f"SELECT CAST(path AS BLOB), {size}, mtime_ns FROM rules_files WHERE device = ? ORDER BY device, path"
    return connection.execute(query, (device,))
