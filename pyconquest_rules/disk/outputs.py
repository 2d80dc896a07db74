"""Decide where files may be written: below the `outputs` of the rules file, and never inside a source."""

import os
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pyconquest_rules.disk.identity import Identities, other_names
from pyconquest_rules.paths import UnsafePath, remembered


@dataclass(frozen=True, slots=True, order=True)
class Root:
    """An output: its path in the rules file (absolute, normalised), and its real path."""

    named: str
    real: str


IN_SOURCE = "the destination lies inside a source"
IN_OWN = "the destination lies in a folder of this program"
IS_OWN = "the destination is a file of this program"


class Guard:
    """The folders where nothing may be written, identified by inode and place, not by path. It reads them once."""

    def __init__(self, sources: Iterable[str], own: Iterable[str]) -> None:
        """`own` are files and folders of this program. All are real paths."""
        self._own = tuple(own)
        self._identities = Identities((*sources, *self._own))

    def check_inode(self, folder: int) -> None:
        """Raise UnsafePath if an open folder is forbidden. Call it for each folder above the one for `check`."""
        self._refuse(self._identities.which_inode(folder))

    def check(self, folder: int) -> None:
        """Raise UnsafePath if an open folder is forbidden or lies in a forbidden one."""
        self._refuse(self._identities.which(folder))

    def check_path(self, path: str) -> None:
        """Raise UnsafePath if a real path is forbidden. Its last folders may be missing."""
        self._refuse(self._identities.which_path(path))

    def _refuse(self, held: str | None) -> None:
        if held is not None:
            raise UnsafePath(IN_OWN if held in self._own else IN_SOURCE)

    def taken(self, folder: int) -> Set[str]:
        """Return the names, case-folded, of files of this program in an open folder."""
        return self._taken(os.fstat(folder))

    def taken_at(self, path: str) -> Set[str]:
        """Return the same for the path of a folder, which may be missing."""
        with suppress(OSError):
            return self._taken(os.stat(path))
        return frozenset()

    def _taken(self, status: os.stat_result) -> Set[str]:
        return self._names.get((status.st_dev, status.st_ino), frozenset())

    @cached_property
    def _names(self) -> dict[tuple[int, int], Set[str]]:
        found = dict[tuple[int, int], set[str]]()
        for path in self._own:
            with suppress(OSError):
                status = os.stat(os.path.dirname(path))
                found.setdefault((status.st_dev, status.st_ino), set()).add(os.path.basename(path).casefold())
        return {**found}


class Outputs:
    """Checks and names destinations.

    Destinations and folders below `base`, the folder of the rules file, are named relative to it; others are absolute. "" is
    `base` itself.
    """

    def __init__(self, base: Path, folders: Iterable[str], sources: Iterable[Path], own: Iterable[Path] = ()) -> None:
        """`folders` are named as in the rules file; `sources` and `own` files of this program are real paths.

        Resolves links, but reads nothing else.
        """
        self.base = os.path.realpath(base)
        named = {os.path.normpath(os.path.join(self.base, folder)) for folder in folders}
        self.roots = tuple(Root(name, os.path.realpath(name)) for name in sorted(named, key=len, reverse=True))
        self._real_sources = tuple(os.path.realpath(source) for source in sources)
        self._sources = tuple(map(_slashed, self._real_sources))
        self._real_own = tuple(os.path.realpath(path) for path in own)
        places = [os.path.split(path.casefold()) for path in self._real_own]
        self._own = tuple(_slashed(os.path.join(*place)) for place in places)
        self._taken = {_slashed(folder): {name for inner, name in places if inner == folder} for folder, _ in places}
        self._placed = remembered(self._place)

    def place(self, path: str) -> str:
        """Return a rendered path as steps and ledger name it.

        Raises UnsafePath if it is not below `outputs`, lies inside a source (which would index its own copies), or in a folder or
        at a file of this program.
        """
        folder, slash, name = path.rpartition("/")
        return self.within(folder + slash, name) + name

    def within(self, folder: str, name: str) -> str:
        """Return the name of the folder of a file. Both end with "/", or are "". Raises UnsafePath as `place` does."""
        placed, taken = self._placed(folder)
        if taken and name.casefold() in taken:
            raise UnsafePath(IS_OWN)
        return placed

    def _place(self, folder: str) -> tuple[str, Set[str]]:
        """Return the prefix of destinations in a folder, and the names in it that are taken. The result is cached."""
        real = self._real(os.path.normpath(os.path.join(self.base, folder)))
        if _slashed(real).startswith(self._sources):
            raise UnsafePath(IN_SOURCE)
        if _slashed(real).casefold().startswith(self._own):
            raise UnsafePath(IN_OWN)
        self._guard.check_path(real)
        taken = self._taken.get(_slashed(real).casefold(), frozenset()) | self._guard.taken_at(real)
        return _slashed(self._name(self._called(real))), taken

    @cached_property
    def _guard(self) -> "Guard":
        return self.guard()

    def guard(self) -> "Guard":
        """Return a new guard, for a run."""
        return Guard(self._real_sources, self._real_own)

    @cached_property
    def _other_names(self) -> dict[str, str]:
        return other_names(root.real for root in self.roots)

    def _real(self, absolute: str) -> str:
        """Return the real path of a folder. If mounts give it several paths, it is always the same one."""
        root = self._root(absolute)
        real = os.path.normpath(os.path.join(root.real, absolute[len(root.named) :].lstrip("/")))
        for _ in self._other_names:
            for other, one in self._other_names.items():
                if _slashed(real).startswith(_slashed(other)):
                    real = os.path.normpath(os.path.join(one, real[len(other) :].lstrip("/")))
        return real

    def _called(self, real: str) -> str:
        """Return the name of a real folder. Two outputs may be the same folder, or one may lie in the other."""
        holding = [root for root in self.roots if _slashed(real).startswith(_slashed(root.real))]
        root = min(holding, key=lambda root: (-len(root.real), len(root.named), root.named))
        return os.path.normpath(os.path.join(root.named, real[len(root.real) :].lstrip("/")))

    def locate(self, folder: str) -> tuple[str, list[str]]:
        """Return the real root of a folder, and the names from the root to it. Raises UnsafePath if it lies in no output."""
        absolute = os.path.normpath(os.path.join(self.base, folder))
        root = self._root(absolute)
        return root.real, [name for name in absolute[len(root.named) :].split("/") if name]

    def real(self, path: str) -> str:
        """Return the real path of a destination, or of a folder that ends with "/". Outside all outputs, return it unchanged."""
        try:
            real = self._real(os.path.normpath(os.path.join(self.base, path)))
        except UnsafePath:
            return path
        return _slashed(real) if path.endswith("/") or not path else real

    def folders(self, folder: str) -> Iterator[str]:
        """Yield a folder and the folders that it lies in, up to the root of its output."""
        inner: str | None = self._name(os.path.normpath(os.path.join(self.base, folder)))
        while inner is not None:
            yield inner
            inner = self.parent(inner)

    def parent(self, folder: str) -> str | None:
        """Return the parent of a folder, or None for the root of its output."""
        absolute = os.path.normpath(os.path.join(self.base, folder))
        return None if absolute == self._root(absolute).named else self._name(os.path.dirname(absolute))

    def _name(self, absolute: str) -> str:
        return "" if absolute == self.base else absolute.removeprefix(_slashed(self.base))

    def root(self, path: str) -> Root:
        """Return the output of a destination or a folder. Raises UnsafePath if there is none."""
        return self._root(os.path.normpath(os.path.join(self.base, path)))

    def disk(self, path: str) -> Root | None:
        """Return the folder of a path where a disk may be mounted, or None.

        That is the output. If the output is the folder of the rules file, it is the first folder of the path. It is None for a
        file directly in the folder of the rules file, which stays after the file is deleted.
        """
        try:
            root = self.root(path)
        except UnsafePath:
            return None
        if root.named != self.base:
            return root
        first, _, rest = path.partition("/")
        return Root(os.path.join(root.named, first), os.path.join(root.real, first)) if first and "/" in rest else None

    def prefix(self, root: Root) -> str:
        """Return the prefix of the destinations in an output."""
        return _slashed(self._name(root.named))

    def _root(self, absolute: str) -> Root:
        for root in self.roots:
            if _slashed(absolute).startswith(_slashed(root.named)):
                return root
        raise UnsafePath("the destination lies outside the outputs of the rules file")


def _slashed(folder: str) -> str:
    """Return a folder with a "/" at its end; "" stays ""."""
    return folder if folder.endswith("/") or not folder else folder + "/"
