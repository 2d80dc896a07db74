"""Where files may be written: below the `outputs` of the rules file, and nowhere inside a source."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pyconquest_rules.paths import UnsafePath


@dataclass(frozen=True, slots=True)
class Root:
    """A folder below which may be written, as the rules file names it (absolute, normalised) and where it really is."""

    named: str
    real: str


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
        self.sources = tuple(os.path.realpath(source) for source in sources)
        self.own = tuple(os.path.realpath(path).casefold() for path in own)
        self._placed = lru_cache(4096)(self._place)

    def place(self, path: str) -> str:
        """A rendered path as steps and ledger name it.

        Raises UnsafePath where it is not below `outputs`, or lies inside a source, which would index its own copies, or where
        the program keeps what is its own.
        """
        folder, slash, name = path.rpartition("/")
        return self.within(folder + slash, name) + name

    def within(self, folder: str, name: str) -> str:
        """How a folder that a file of that name goes to is named, both with a "/" at the end or "". Raises as `place` does."""
        placed, own = self._placed(folder)
        if name.casefold() in own:
            raise UnsafePath("the destination is a file of this program")
        return placed

    def _place(self, folder: str) -> tuple[str, frozenset[str]]:
        """How destinations in a folder begin, and the names in it that are taken. Many share it, so it is worked out once."""
        whole = os.path.normpath(os.path.join(self.base, folder))
        root = self._root(whole)
        real = os.path.normpath(os.path.join(root.real, os.path.relpath(whole, root.named)))
        if any(_is_in(real, source) for source in self.sources):
            raise UnsafePath("the destination lies inside a source")
        if any(_is_in(real.casefold(), path) for path in self.own):
            raise UnsafePath("the destination lies in a folder of this program")
        own = frozenset(os.path.basename(path) for path in self.own if os.path.dirname(path) == real.casefold())
        return os.path.join(self._name(whole), ""), own

    def locate(self, folder: str) -> tuple[str, list[str]]:
        """The real root of a folder, and the names of the folders from there to it. Raises UnsafePath where it is below none."""
        whole = os.path.normpath(os.path.join(self.base, folder))
        root = self._root(whole)
        return root.real, [name for name in whole[len(root.named) :].split("/") if name]

    def folders(self, folder: str) -> Iterator[str]:
        """A folder and those that it lies in, up to the root of its output."""
        whole = os.path.normpath(os.path.join(self.base, folder))
        root = self._root(whole)
        while whole != root.named:
            yield self._name(whole)
            whole = os.path.dirname(whole)
        yield self._name(whole)

    def _name(self, whole: str) -> str:
        return "" if whole == self.base else whole.removeprefix(os.path.join(self.base, ""))

    def _root(self, whole: str) -> Root:
        for root in self.roots:
            if _is_in(whole, root.named):
                return root
        raise UnsafePath("the destination lies outside the outputs of the rules file")


def _is_in(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies below it; both normalised."""
    return path == folder or path.startswith(os.path.join(folder, ""))
