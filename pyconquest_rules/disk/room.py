"""Check the outputs before a run: whether they are mounted, and whether there is room for the files of the plan."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import AnyStr

from pyconquest_rules.answers import NoRoom
from pyconquest_rules.disk.facts import Gone
from pyconquest_rules.disk.outputs import Outputs, Root

# Entries that a file system or a desktop creates at the top of an empty disk.
OF_THE_DISK = ("lost+found", "System Volume Information", "$RECYCLE.BIN", ".Trash", ".fseventsd", ".Spotlight-V100", ".DS_Store")


def nothing_in(root: Root) -> Gone | None:
    """Return why an output has no files, as when a disk is not mounted; None if it has some."""
    try:
        with os.scandir(root.real) as entries:
            if any(not entry.name.startswith(OF_THE_DISK) for entry in entries):
                return None
    except (FileNotFoundError, NotADirectoryError):
        return Gone.MISSING
    except OSError:
        return Gone.UNREADABLE
    return Gone.EMPTY


def free(folder: Path) -> int:
    """Return the number of free bytes on the file system of a folder. Raises OSError."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def device(path: AnyStr) -> int:
    """Return the file system (st_dev) of a path. Its last folders may be missing."""
    return os.stat(_existing(path)).st_dev


def no_room(needed: Mapping[str, int], outputs: Outputs) -> Iterator[NoRoom]:
    """Yield the file systems without room. `needed` is the number of bytes for each folder of destinations."""
    sums, first = dict[int, int](), dict[int, str]()
    for folder, number in needed.items():
        at = device(outputs.real(folder))
        sums[at] = sums.get(at, 0) + number
        first.setdefault(at, folder)
    for at, number in sums.items():
        status = os.statvfs(_existing(outputs.real(first[at])))
        left = status.f_bavail * status.f_frsize
        if status.f_blocks and number > left:  # some network file systems do not report their size
            yield NoRoom(outputs.root(first[at]).named, number, left)


def _existing(path: AnyStr) -> AnyStr:
    """Return the deepest folder on an absolute path that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path
