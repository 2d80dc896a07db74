"""Sources as trees of files. If several sources share a folder, the first of them has its files."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pyconquest_rules.index.scan.patterns import ENCODING, ERRORS, expression

NO_NAME = b"\0"
"""A name that no file can have. A pattern that matches it in a folder matches every file there."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A source: its name, the real path of its root, and its `exclude` patterns.

    `before` are the sources above it in the rules file that share files with it. Shared files belong to the first source.
    """

    name: str
    root: Path
    exclude: tuple[str, ...] = ()
    before: tuple["Tree", ...] = ()

    def overlap(self, other: "Tree") -> str:
        """Return how this source overlaps another one, as a verb phrase for a message."""
        return "is the same folder as" if self.root == other.root else "lies inside" if self.is_inside(other) else "contains"

    def is_inside(self, other: "Tree") -> bool:
        """Return whether the root is the root of another source or lies below it."""
        return self.root.is_relative_to(other.root)


def divided(trees: Iterable[Tree]) -> tuple[Tree, ...]:
    """Return the sources, in the order of the rules file, with their `before` filled in."""
    done: list[Tree] = []
    for tree in trees:
        done.append(replace(tree, before=tuple(earlier for earlier in done if _share(earlier, tree))))
    return tuple(done)


def _share(one: Tree, other: Tree) -> bool:
    outer, inner = (one, other) if other.is_inside(one) else (other, one)
    return inner.is_inside(outer) and not _Excluded(outer).has(_below(inner.root, outer.root) + NO_NAME)


def _below(root: Path, above: Path) -> bytes:
    """Return the path from `above` to a root below it, with a "/" at its end; empty if they are the same."""
    return b"" if root == above else os.fsencode(root.relative_to(above)) + b"/"


class _Excluded:
    """The files that a source excludes."""

    def __init__(self, tree: Tree) -> None:
        self.expression = expression(tree.exclude)

    def has(self, path: bytes) -> bool:
        """Return whether a pattern matches a path from the root, or a folder above it."""
        if self.expression is None:
            return False
        names = path.decode(ENCODING, ERRORS).split("/")
        return any(self.expression.match("/".join(names[: number + 1])) for number in range(len(names)))


class Shared:
    """The files below a root that belong to an earlier source."""

    def __init__(self, earlier: Tree, root: bytes) -> None:
        here = Path(os.fsdecode(root))
        inside = here.is_relative_to(earlier.root)
        self.above = _below(here, earlier.root) if inside else b""  # the path from the earlier root to this one
        self.below = b"" if inside else _below(earlier.root, here)  # the path from this root to the earlier one
        self.excluded = _Excluded(earlier)

    def has(self, part: bytes) -> bool:
        """Return whether a file, or a folder with a "/" at its end and everything in it, belongs to the earlier source."""
        if not part.startswith(self.below):
            return False
        path = self.above + part.removeprefix(self.below)
        return self.excluded.expression is None if path.endswith(b"/") or not path else not self.excluded.has(path)
