"""Errors about the roots of sources, with what to do, and archives among the files of a source."""

import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from shlex import quote

from pyconquest_rules.archives.names import is_archive

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar", ".iso")

MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
"""The first bytes of archives: ZIP, gzip, 7z, RAR, bzip2, xz, Zstandard."""

MEDIA_DIRECTORY = b"1.2.840.10008.1.3.10\0"
"""Media Storage Directory Storage, the SOP class of a DICOMDIR (PS3.10), as it is in the file meta information."""


def not_a_folder(root: Path) -> str | None:
    """Return an error if the root of a source, or a path above it, is not a folder; None if it is a folder or does not exist."""
    for place in (root, *root.parents):
        with suppress(OSError):
            mode = place.stat().st_mode
            if stat.S_ISDIR(mode):
                return None
            if not stat.S_ISREG(mode):
                return f"{place} is not a folder, but a pipe, a socket or a device; name a folder"
            if _is_archive(place) and not is_archive(os.fsencode(place)):
                return f"{place} is an archive; unpack it, and name the folder"
            what = "an archive" if is_archive(os.fsencode(place)) else "a DICOMDIR" if _is_dicomdir(place) else "a file"
            return f"{place} is {what}, not a folder; name the folder that contains it: {place.parent}"
    return None


def _is_archive(file: Path) -> bool:
    return _begins(file).startswith(MAGIC) or file.name.lower().endswith(ARCHIVES)


def _is_dicomdir(file: Path) -> bool:
    return file.name.upper() == "DICOMDIR" or MEDIA_DIRECTORY in _begins(file)


def _begins(file: Path) -> bytes:
    with suppress(OSError), file.open("rb") as opened:
        return opened.read(512)
    return b""


def missing(root: Path, why: str, *, known: bool) -> str:
    """Return the error for a source that cannot be listed. `known` is whether the index has files of it."""
    if os.path.lexists(root):
        return f"the folder {root} cannot be read ({why}); make it readable, or use --allow-vanish if it is gone for good"
    if known:
        return f"there is no folder {root}; mount it, correct its path, or use --allow-vanish if it is gone for good"
    return f"there is no folder {root}; correct its path, or make it with: mkdir -p {quote(str(root))}"


def archives(connection: sqlite3.Connection) -> list[tuple[str, int, bool]]:
    """Return name, number of archives, and whether there is no DICOM file at all, for each source with archives."""
    is_archive = " OR ".join(f"path LIKE '%{suffix}'" for suffix in ARCHIVES)
    return connection.execute(
        "SELECT name, number,"
        " NOT EXISTS (SELECT 1 FROM rules_files AS f WHERE f.device = s.device AND f.reason IS NOT 'not-dicom')"
        " FROM (SELECT device, count(*) AS number FROM rules_files"
        f" WHERE outcome = 'rejected' AND reason = 'not-dicom' AND ({is_archive}) GROUP BY device)"
        " JOIN rules_sources AS s USING (device) ORDER BY name"
    ).fetchall()
