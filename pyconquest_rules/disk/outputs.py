"""Where files may be written: below the `outputs` of the rules file, and nowhere inside a source."""

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
    """A folder below which may be written, as the rules file names it (absolute, normalised) and where it really is."""

    named: str
    real: str


IN_SOURCE = "the destination lies inside a source"
IN_OWN = "the destination lies in a folder of this program"
IS_OWN = "the destination is a file of this program"


class Guard:
    """Where nothing may be written, by what folders are and not by what they are called. It looks at them once."""

    def __init__(self, sources: Iterable[str], own: Iterable[str]) -> None:
        """`own` are files and folders of the program; all are real paths."""
        self._own = tuple(own)
        self._identities = Identities((*sources, *self._own))

    def check_inode(self, folder: int) -> None:
        """Raise UnsafePath if an open folder is one that nothing may be written into: for each on the way to `check`."""
        self._refuse(self._identities.which_inode(folder))

    def check(self, folder: int) -> None:
        """Raise UnsafePath if nothing may be written into an open folder."""
        self._refuse(self._identities.which(folder))

    def check_path(self, path: str) -> None:
        """Raise UnsafePath if nothing may be written to a real path, whose last folders may be missing."""
        self._refuse(self._identities.which_path(path))

    def _refuse(self, held: str | None) -> None:
        if held is not None:
            raise UnsafePath(IN_OWN if held in self._own else IN_SOURCE)

    def taken(self, folder: int) -> Set[str]:
        """The names, without case, of the program's own files in an open folder."""
        return self._taken(os.fstat(folder))

    def taken_at(self, path: str) -> Set[str]:
        """The same for the path of a folder, which may be missing."""
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
    """Decides what a destination may be, and where it lies.

    Destinations and their folders are named from `base`, the folder of the rules file, where they are below it, else absolute;
    "" is `base` itself.
    """

    def __init__(self, base: Path, folders: Iterable[str], sources: Iterable[Path], own: Iterable[Path] = ()) -> None:
        """`folders` as the rules file names them; `sources`, and what is the program's `own`, as real paths.

        Reads only where links in these lead.
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
        """A rendered path as steps and ledger name it.

        Raises UnsafePath where it is not below `outputs`, or lies inside a source, which would index its own copies, or where
        the program keeps what is its own.
        """
        folder, slash, name = path.rpartition("/")
        return self.within(folder + slash, name) + name

    def within(self, folder: str, name: str) -> str:
        """How a folder that a file of that name goes to is named, both with a "/" at the end or "". Raises as `place` does."""
        placed, taken = self._placed(folder)
        if taken and name.casefold() in taken:
            raise UnsafePath(IS_OWN)
        return placed

    def _place(self, folder: str) -> tuple[str, Set[str]]:
        """How destinations in a folder begin, and the names in it that are taken. Many share it, so it is worked out once."""
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
        """Return what looks anew, for a run, where nothing may be written."""
        return Guard(self._real_sources, self._real_own)

    @cached_property
    def _other_names(self) -> dict[str, str]:
        return other_names(root.real for root in self.roots)

    def _real(self, whole: str) -> str:
        """Where a folder really lies; of the names that mounts give it, always the same one."""
        root = self._root(whole)
        real = os.path.normpath(os.path.join(root.real, whole[len(root.named) :].lstrip("/")))
        for _ in self._other_names:
            for other, one in self._other_names.items():
                if _slashed(real).startswith(_slashed(other)):
                    real = os.path.normpath(os.path.join(one, real[len(other) :].lstrip("/")))
        return real

    def _called(self, real: str) -> str:
        """How a real folder is named: two outputs may be one folder, or one may lie in the other."""
        holding = [root for root in self.roots if _slashed(real).startswith(_slashed(root.real))]
        root = min(holding, key=lambda root: (-len(root.real), len(root.named), root.named))
        return os.path.normpath(os.path.join(root.named, real[len(root.real) :].lstrip("/")))

    def locate(self, folder: str) -> tuple[str, list[str]]:
        """The real root of a folder, and the names of the folders from there to it. Raises UnsafePath where it is below none."""
        whole = os.path.normpath(os.path.join(self.base, folder))
        root = self._root(whole)
        return root.real, [name for name in whole[len(root.named) :].split("/") if name]

    def real(self, path: str) -> str:
        """Where a destination, or a folder with a "/" at its end, really lies; it stays as it is where it is below no output."""
        try:
            real = self._real(os.path.normpath(os.path.join(self.base, path)))
        except UnsafePath:
            return path
        return _slashed(real) if path.endswith("/") or not path else real

    def folders(self, folder: str) -> Iterator[str]:
        """A folder and those that it lies in, up to the root of its output."""
        inner: str | None = self._name(os.path.normpath(os.path.join(self.base, folder)))
        while inner is not None:
            yield inner
            inner = self.parent(inner)

    def parent(self, folder: str) -> str | None:
        """The folder that a folder lies in; None for the root of its output."""
        whole = os.path.normpath(os.path.join(self.base, folder))
        return None if whole == self._root(whole).named else self._name(os.path.dirname(whole))

    def _name(self, whole: str) -> str:
        return "" if whole == self.base else whole.removeprefix(_slashed(self.base))

    def root(self, path: str) -> Root:
        """Return the output that a destination or a folder lies in. Raises UnsafePath if there is none."""
        return self._root(os.path.normpath(os.path.join(self.base, path)))

    def disk(self, path: str) -> Root | None:
        """Return the folder that a disk may be mounted at, so that the path is on it; None for what lies beside the rules file.

        That is the output; if it is the folder of the rules file, the folder in it that the path begins with. Files right in
        that folder do not count: whoever deletes them leaves it empty.
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
        """How the destinations in an output begin."""
        return _slashed(self._name(root.named))

    def _root(self, whole: str) -> Root:
        for root in self.roots:
            if _slashed(whole).startswith(_slashed(root.named)):
                return root
        raise UnsafePath("the destination lies outside the outputs of the rules file")


def _slashed(folder: str) -> str:
    """A folder as all begins that lies in it."""
    return folder if folder.endswith("/") or not folder else folder + "/"
