"""Sources as the index takes them, and which of them has the files of folders that several sources share."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pyconquest_rules.index.scan.patterns import ENCODING, ERRORS, expression

NO_NAME = b"\0"
"""The name of no file: a pattern that matches it in a folder matches whatever is there."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A source: a name, the real path of its root, and the patterns of what is left out.

    `before` are the sources above it in the rules file that share files with it: these files are theirs alone.
    """

    name: str
    root: Path
    exclude: tuple[str, ...] = ()
    before: tuple["Tree", ...] = ()

    def overlap(self, other: "Tree") -> str:
        """How this source lies to another one."""
        return "is the same folder as" if self.root == other.root else "lies inside" if self.is_inside(other) else "contains"

    def is_inside(self, other: "Tree") -> bool:
        """Whether the root is that of another source, or lies below it."""
        return self.root.is_relative_to(other.root)


def divided(trees: Iterable[Tree]) -> tuple[Tree, ...]:
    """Sources in the order of the rules file, each with those before it that share files with it."""
    done: list[Tree] = []
    for tree in trees:
        done.append(replace(tree, before=tuple(earlier for earlier in done if _share(earlier, tree))))
    return tuple(done)


def _share(one: Tree, other: Tree) -> bool:
    outer, inner = (one, other) if other.is_inside(one) else (other, one)
    return inner.is_inside(outer) and not _Left(outer).out(_below(inner.root, outer.root) + NO_NAME)


def _below(root: Path, above: Path) -> bytes:
    """The path from one root to another one below it, with a "/" at its end; empty if they are the same."""
    return b"" if root == above else os.fsencode(root.relative_to(above)) + b"/"


class _Left:
    """What a source leaves out itself."""

    def __init__(self, tree: Tree) -> None:
        self.excluded = expression(tree.exclude)

    def out(self, path: bytes) -> bool:
        """Whether a pattern matches a path from the root, or a folder on the way to it."""
        if self.excluded is None:
            return False
        names = path.decode(ENCODING, ERRORS).split("/")
        return any(self.excluded.match("/".join(names[: number + 1])) for number in range(len(names)))


class Shared:
    """What an earlier source has of the tree below another root."""

    def __init__(self, earlier: Tree, root: bytes) -> None:
        here = Path(os.fsdecode(root))
        inside = here.is_relative_to(earlier.root)
        self.way = _below(here, earlier.root) if inside else b""  # from its root to here
        self.only = b"" if inside else _below(earlier.root, here)  # from here to its root
        self.left = _Left(earlier)

    def has(self, part: bytes) -> bool:
        """Whether the earlier source has a file, or all of a folder, which has a "/" at its end."""
        if not part.startswith(self.only):
            return False
        path = self.way + part.removeprefix(self.only)
        return self.left.excluded is None if path.endswith(b"/") or not path else not self.left.out(path)
