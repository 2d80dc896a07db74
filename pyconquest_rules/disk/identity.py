"""Identify folders by device, inode and place in the file system, never by path alone.

One folder may have many paths: bind mounts, links, `..`, /proc/self/fd, and names that differ in case on a case-insensitive disk.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property

from pyconquest_rules.disk.mounts import Mount, Place, mounted, mounts
from pyconquest_rules.paths import collision_key, remembered

DEEP = 8
"""The number of stacked file systems (overlay, FUSE) to follow."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A place and a path to it. `above` is the number of its names above the mount of the path.

    `of` is the given folder that it is, or that shows or contains it.
    """

    place: Place
    path: str
    above: int
    of: str = ""

    def below(self, names: tuple[str, ...]) -> "_Known":
        """Return the folder that names lead to from here."""
        return _Known(Place(self.place.disk, self.place.names + names), os.path.join(self.path, *names), self.above, self.of)

    def holds(self, other: Place) -> bool:
        """Return whether another place is this one or lies below it."""
        own, begin = self.place.names, other.names[: len(self.place.names)]
        if self.place.disk != other.disk or len(begin) < len(own):
            return False
        if begin == own:
            return True
        first = next(number for number, names in enumerate(zip(own, begin, strict=True)) if names[0] != names[1])
        if first < self.above or collision_key("/".join(own)) != collision_key("/".join(begin)):
            return False
        # The names differ in case only. If the folder lists both, they are two; else the disk is case-insensitive.
        parent = self.path
        for _ in own[first:]:
            parent = os.path.dirname(parent)
        try:
            listed = os.listdir(parent)
        except OSError:
            return True
        return begin[first] not in listed


class Identities:
    """Finds whether a folder is, or lies in, one of some given folders, whatever its path.

    Folders and mounts are read once, when they are first needed. Create a new object for each run.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        """`folders` are real paths. One that is missing, or is not a folder, contains nothing."""
        self.folders = tuple(folders)
        self.which_path, self._at = remembered(self._which_path), remembered(self._which_at)
        self._shown: dict[Mount, list[tuple[_Known, bool]]] = {}

    def which_inode(self, folder: int) -> str | None:
        """Return the given folder that has the inode of an open folder, or None."""
        status = os.fstat(folder)
        return self._inodes.get((status.st_dev, status.st_ino))

    def which(self, folder: int) -> str | None:
        """Return the given folder that an open folder is or lies in. The caller checks the inodes of the folders above it."""
        if (found := self.which_inode(folder)) or not self._known:
            return found
        places = self._places(folder, written=True)
        return next((known.of for where in places for known in self._known if known.holds(where.place)), None)

    def _which_path(self, path: str) -> str | None:
        """Return the given folder that an absolute, normalized path leads into. The last folders of the path may be missing."""
        # A loop, not a recursion: a template may render a path of hundreds of folders.
        ends = (number for number, letter in enumerate(path) if letter == "/" and number)
        above = (path[:end] for end in ends)
        return next((found for each in ("/", *above, path) if (found := self._at(each))), None)

    def _which_at(self, path: str) -> str | None:
        """Return the given folder that a path leads into, if the parent of the path does not."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        found = self._inodes.get((status.st_dev, status.st_ino))
        # Only a mount, or the name of a given folder, can lead into a folder that the parent does not lead into.
        if found or not self._known or collision_key(path) not in self._turns:
            return found
        with suppress(OSError), looked_at(path) as folder:
            return self.which(folder)
        return None

    @cached_property
    def _mounts(self) -> dict[int, Mount]:
        return mounts()

    @cached_property
    def _inodes(self) -> dict[tuple[int, int], str]:
        found = dict[tuple[int, int], str]()
        for path, folder in (*((known.path, known.of) for known in self._known), *((folder, folder) for folder in self.folders)):
            with suppress(OSError):
                status = os.stat(path)
                found[status.st_dev, status.st_ino] = folder
        return found

    @cached_property
    def _known(self) -> tuple[_Known, ...]:
        """Return the places of the given folders, of the mounts in them, and of the folders that these show."""
        return tuple(known for places in self._by_path() for known in places)

    def mounted(self) -> Iterator[_Known]:
        """Return the given folders and the mounts in them, each with its own path and place, as far as they are known."""
        return (known for places in self._by_path() for known in places[:1])

    def _by_path(self) -> Iterator[list[_Known]]:
        points = [mount.point for mount in self._mounts.values()]
        inner = [(point, folder) for point in points for folder in self.folders if _is_in(point, folder)]
        for path, of in dict([*inner, *((folder, folder) for folder in self.folders)]).items():
            with suppress(OSError), looked_at(path) as folder:
                yield [replace(known, of=of) for known in self._places(folder, written=False)]

    @cached_property
    def _turns(self) -> frozenset[str]:
        """Return the keys of the paths that may lead into a given folder although their parents do not."""
        paths = (*(mount.point for mount in self._mounts.values()), *(known.path for known in self._known))
        return frozenset(map(collision_key, paths))

    def _places(self, folder: int, *, written: bool, deep: int = 0) -> list[_Known]:
        """Return the place of an open folder, if known, and the places that it shows. With `written`, only those it writes to."""
        if (found := mounted(folder, self._mounts)) is None:
            return []
        mount, below = found
        own = _Known(mount.place, mount.point, len(mount.place.names)).below(below)
        shown = [known.below(below) for known, is_written in self._shows(mount, deep) if is_written or not written]
        return shown if mount.is_vague else [own, *shown]

    def _shows(self, mount: Mount, deep: int) -> list[tuple[_Known, bool]]:
        """Return the places that the root of a mount shows, and whether a write to the mount changes each."""
        if mount not in self._shown:
            self._shown[mount] = []
            changed, read = mount.shows() if deep < DEEP else ([], [])
            for path, is_written in (*((each, True) for each in changed), *((each, False) for each in read)):
                with suppress(OSError), looked_at(path) as folder:
                    places = self._places(folder, written=is_written, deep=deep + 1)
                    # The mount may show only a part of the file system.
                    self._shown[mount] += [(known.below(mount.place.names), is_written) for known in places]
        return self._shown[mount]


def other_names(folders: Iterable[str]) -> dict[str, str]:
    """Find folders, and mounts in them, that are or lie in another one. Return the path in the other one for each.

    `folders` are real paths. If two are the same folder, the longer path is the key.
    """
    looked = Identities(sorted(set(folders), key=lambda path: (len(path), path)))
    found = dict[str, str]()
    known = sorted(looked.mounted(), key=lambda each: (len(each.path), each.path))
    for number, other in enumerate(known):
        for nth, one in enumerate(known):
            if other.path in found or not one.holds(other.place) or (nth >= number and other.holds(one.place)):
                continue
            name = os.path.join(one.path, *other.place.names[len(one.place.names) :])
            if name != other.path and _is_same(name, other.path):
                found[other.path] = name
    return found


def _is_same(one: str, other: str) -> bool:
    with suppress(OSError):
        return os.path.samefile(one, other)
    return False


@contextmanager
def looked_at(path: str) -> Iterator[int]:
    """Open a folder. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def _is_in(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")
