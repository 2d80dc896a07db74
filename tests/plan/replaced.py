"""Files that change."""

import os
from pathlib import Path


def replaced(file: Path, data: bytes) -> None:
    """Another file under the same name, of another time."""
    before = file.stat()
    file.unlink()
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))


def changed_by_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    replaced(file, bytes(data))
