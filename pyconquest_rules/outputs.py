"""Where files may be written: below the `outputs` of the rules file, and nowhere inside a source."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pyconquest_rules.templates import UnsafePath


@dataclass(frozen=True, slots=True)
class Root:
    """A folder below which may be written, as the rules file names it (absolute, normalised) and where it really is."""

    named: str
    real: str


class Outputs:
    """Decides what a destination may be, and where it lies. Paths count from `base`, the folder of the rules file."""

    def __init__(self, base: Path, folders: Iterable[str], sources: Iterable[Path]) -> None:
        """`folders` as the rules file names them, `sources` as real paths. Reads only where links in these lead."""
        self.base = os.path.realpath(base)
        named = {os.path.normpath(os.path.join(self.base, folder)) for folder in folders}
        self.roots = tuple(Root(name, os.path.realpath(name)) for name in sorted(named, key=len, reverse=True))
        self.sources = tuple(os.path.realpath(source) for source in sources)
        self._placed = lru_cache(4096)(self._place)

    def place(self, path: str) -> str:
        """A rendered path as steps and ledger name it: from `base` where it is below, else absolute.

        Raises UnsafePath where it is not below `outputs`, or lies inside a source, which would index its own copies.
        """
        folder, slash, name = path.rpartition("/")
        return self._placed(folder + slash) + name

    def _place(self, folder: str) -> str:
        """A folder as steps name it, with a closing slash; "" for `base`. Many files share it, so it is worked out once."""
        whole = os.path.normpath(os.path.join(self.base, folder)) + "/"
        root, below = self._root(whole)
        if any(_is_below(os.path.join(root.real, below) + "/", source) for source in self.sources):
            raise UnsafePath("the destination lies inside a source")
        return whole[len(self.base) + 1 :] if _is_below(whole, self.base) else whole

    def locate(self, destination: str) -> tuple[str, str]:
        """The real root of a placed destination, and the path from there."""
        root, below = self._root(os.path.normpath(os.path.join(self.base, destination)))
        return root.real, below

    def folders(self, destination: str) -> Iterator[str]:
        """The folders of a placed destination up to the root of its output, deepest first, named as destinations are."""
        root, _ = self._root(os.path.normpath(os.path.join(self.base, destination)))
        top = "" if root.named == self.base else root.named
        top = top[len(self.base) + 1 :] if _is_below(top, self.base) else top
        folder = os.path.dirname(destination)
        while folder != top:
            yield folder
            folder = os.path.dirname(folder)
        yield top

    def _root(self, whole: str) -> tuple[Root, str]:
        for root in self.roots:
            if _is_below(whole, root.named):
                return root, os.path.relpath(whole, root.named)
        raise UnsafePath("the destination lies outside the outputs of the rules file")


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")
