"""Where the index has its files: sources as devices, and the place of an instance."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from pyconquest_rules.archives.names import divided, is_member
from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.file import File
from pyconquest_rules.disk.sources import is_unchanged
from pyconquest_rules.headers.opening import Reason


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an instance: the device and root of its source, and the file as it was indexed.

    The file may be a member of an archive, which has no path of its own.
    """

    device: str
    root: Path
    file: File

    @property
    def source(self) -> bytes:
        """The file, or the member of an archive, as `disk.sources` reads it."""
        return os.path.join(os.fsencode(self.root), self.file.path)

    @property
    def is_packed(self) -> bool:
        """Whether the file is a member of an archive."""
        return is_member(self.file.path)

    @property
    def path(self) -> Path:
        """The absolute path of the file, or of the archive that has it."""
        return self.root / os.fsdecode(divided(self.file.path)[0])

    def is_there(self) -> bool:
        """Return whether the file still exists with the size that the index has. Raises OSError if that cannot be found out."""
        try:
            if self.is_packed:
                return is_unchanged(self.source, Stamp(*self.file[1:]))
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
    """Return path, size and mtime_ns of the files of a device, but for members of archives, in the byte order of their paths.

    A file that could not be read has size -1. It may be readable now, and its mtime would not show that: neither permissions,
    nor a repaired disk, nor more memory change it.
    """
    size = f"CASE WHEN reason IN ('{Reason.UNREADABLE}', '{Reason.READER_KILLED}') THEN -1 ELSE size END"
    files = f"SELECT CAST(path AS BLOB), {size}, mtime_ns FROM rules_files WHERE device = ? AND instr(path, '//') = 0"
    return connection.execute(f"{files} ORDER BY device, path", (device,))
