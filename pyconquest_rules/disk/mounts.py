"""Find the place of a folder in its file system, from the mounts of this process (Linux, proc(5)).

A folder may be mounted a second time (a bind mount), shown by another file system (overlay, bindfs), or both. On systems without
/proc, and on network file systems, only device and inode identify a folder.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph")
"""File systems that do not report which of their folders is mounted."""


class Place(NamedTuple):
    """A folder in a file system: the device, and the names from the root of the file system to the folder."""

    disk: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount: the place that is mounted, and the path of the mount point.

    `kind` is the type of the file system; `source` and `options` are the arguments of the mount.
    """

    place: Place
    point: str
    kind: str
    source: str
    options: tuple[str, ...]

    @property
    def is_vague(self) -> bool:
        """Return whether the place is unknown, as on a network file system."""
        return self.kind.startswith(NETWORK)

    def shows(self) -> tuple[list[str], list[str]]:
        """Return the folders that this mount shows: first those that a write to the mount changes, then the others."""
        if self.kind.startswith(("fuse", "ecryptfs")):
            return [self.source] if self.source.startswith("/") else [], []
        if self.kind != "overlay":
            return [], []
        named = dict(option.partition("=")[::2] for option in self.options)
        lower = re.split(r"(?<!\\):", named.get("lowerdir", ""))
        return _folders([named.get("upperdir", "")]), _folders(lower)


def _folders(written: list[str]) -> list[str]:
    folders = (re.sub(r"\\(.)", r"\1", each) for each in written)
    return [each for each in folders if each.startswith("/")]


def mounts() -> dict[int, Mount]:
    """Return the mounts by number; none if the system does not list them."""
    found = {}
    with suppress(OSError), open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            fields = [_plain(field) for field in line.rstrip(b"\n").split(b" ")]
            kind, source, *options = fields[fields.index("-", 6) + 1 :]
            every = tuple(option for each in options for option in each.split(","))
            found[int(fields[0])] = Mount(Place(fields[2], names(fields[3])), fields[4], kind, source, every)
    return found


def _plain(field: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field))


def names(path: str) -> tuple[str, ...]:
    """Return the names in a path."""
    return tuple(name for name in path.split("/") if name)


def mounted(folder: int, known: dict[int, Mount]) -> tuple[Mount, tuple[str, ...]] | None:
    """Return the mount of an open folder, and the names from the mount point to it. None if unknown."""
    try:
        about = os.open(f"/proc/self/fdinfo/{folder}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            number = int(os.read(about, 1024).partition(b"mnt_id:")[2].split(maxsplit=1)[0])
        finally:
            os.close(about)
        mount, path = known[number], os.readlink(f"/proc/self/fd/{folder}")
    except (OSError, ValueError, LookupError):
        return None
    point = names(mount.point)
    below = names(path)
    return (mount, below[len(point) :]) if below[: len(point)] == point else None
