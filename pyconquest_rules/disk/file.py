"""A file of a source, as the walk sees it."""

from typing import NamedTuple


class File(NamedTuple):
    """A regular file. `path` counts from the root of the source, with "/"; size in bytes, mtime in nanoseconds."""

    path: bytes
    size: int
    mtime_ns: int
