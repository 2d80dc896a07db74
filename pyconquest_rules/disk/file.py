"""A file of a source."""

from typing import NamedTuple


class File(NamedTuple):
    """A regular file. `path` is relative to the root of the source; size in bytes, mtime in nanoseconds."""

    path: bytes
    size: int
    mtime_ns: int
