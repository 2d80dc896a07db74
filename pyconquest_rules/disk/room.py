"""Room on the file systems of the outputs: whether what a plan writes fits, and whether an output is there at all."""

import os
from collections.abc import Iterator, Mapping
from typing import AnyStr

from pyconquest_rules.answers import NoRoom
from pyconquest_rules.disk.facts import Gone
from pyconquest_rules.disk.outputs import Outputs, Root

# What a file system, or a desktop, puts at the top of a disk on which nothing is.
OF_THE_DISK = ("lost+found", "System Volume Information", "$RECYCLE.BIN", ".Trash", ".fseventsd", ".Spotlight-V100", ".DS_Store")


def nothing_in(root: Root) -> Gone | None:
    """Return why no file can be in an output, as where a disk is not mounted; else None."""
    try:
        with os.scandir(root.real) as entries:
            if any(not entry.name.startswith(OF_THE_DISK) for entry in entries):
                return None
    except (FileNotFoundError, NotADirectoryError):
        return Gone.MISSING
    except OSError:
        return Gone.UNREADABLE
    return Gone.EMPTY


def device(path: AnyStr) -> int:
    """Return the file system (st_dev) of a path, or of what will hold it."""
    return os.stat(_existing(path)).st_dev


def no_room(needed: Mapping[str, int], outputs: Outputs) -> Iterator[NoRoom]:
    """Yield the file systems on which bytes that are `needed`, by folder as destinations name them, do not fit."""
    sums, first = dict[int, int](), dict[int, str]()
    for folder, number in needed.items():
        at = device(outputs.real(folder))
        sums[at] = sums.get(at, 0) + number
        first.setdefault(at, folder)
    for at, number in sums.items():
        status = os.statvfs(_existing(outputs.real(first[at])))
        free = status.f_bavail * status.f_frsize
        if status.f_blocks and number > free:  # some network file systems do not say how large they are
            yield NoRoom(outputs.root(first[at]).named, number, free)


def _existing(path: AnyStr) -> AnyStr:
    """The deepest folder on an absolute path that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path
