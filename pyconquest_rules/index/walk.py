"""Walking a source: every file below a root exactly once, in the order of the bytes of its path."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

# What a column of SQLite holds; a file system may tell times far after the year 2262.
EARLIEST, LATEST = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Tree:
    """A source as the index takes it: a name, the real path of its root, and the patterns of what is left out."""

    name: str
    root: Path
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A regular file. `path` counts from the root of the source, with "/"; size in bytes, mtime in nanoseconds."""

    path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """What is not read, and why: `excluded, own, not-regular, link-outside, link-to-folder, link-broken, unreadable`."""

    path: bytes
    reason: str


def walk(root: bytes, exclude: Sequence[str] = (), own: frozenset[bytes] = frozenset()) -> Iterator[File | Skipped]:
    """Everything below `root`, a real path, in the byte order of the relative paths; a folder as if its path ended in "/".

    Links to folders are not followed, links to files only where they stay inside `root`. What a pattern of `exclude`
    matches is left out whole. `own` are real paths of files and folders of ours. A folder is told only where it is left out.
    Nothing is opened but folders. Raises OSError where `root` itself cannot be listed.
    """
    excluded = _excluded(exclude)
    # The folders on the way down, each as what is still to be seen of it: memory grows with depth, not with the tree.
    trail = [(b"", iter(_listing(root)))]
    while trail:
        prefix, names = trail[-1]
        name = next(names, None)
        if name is None:
            trail.pop()
            continue
        path = prefix + name.removesuffix(b"/")
        if excluded and excluded.match(os.fsdecode(path)):
            yield Skipped(path, "excluded")
        elif os.path.join(root, path) in own:
            yield Skipped(path, "own")
        elif name.endswith(b"/"):
            try:
                trail.append((path + b"/", iter(_listing(os.path.join(root, path)))))
            except OSError:
                yield Skipped(path, "unreadable")
        elif found := _file(root, path):
            yield found


def _listing(folder: bytes) -> list[bytes]:
    """The names in a folder, those of folders with a "/" at the end: so sorted, whole paths are sorted too."""
    with os.scandir(folder) as entries:
        return sorted(entry.name + b"/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries)


def _file(root: bytes, path: bytes) -> File | Skipped | None:
    """What is at a path that is no folder; None where it vanished since the folder was listed."""
    whole = os.path.join(root, path)
    try:
        status = os.lstat(whole)
    except FileNotFoundError:
        return None
    except OSError:
        return Skipped(path, "unreadable")
    if stat.S_ISLNK(status.st_mode):
        if not os.path.realpath(whole).startswith(root.rstrip(b"/") + b"/"):
            return Skipped(path, "link-outside")
        try:
            status = os.stat(whole)
        except OSError:
            return Skipped(path, "link-broken")
        if stat.S_ISDIR(status.st_mode):
            return Skipped(path, "link-to-folder")
    if not stat.S_ISREG(status.st_mode):
        return Skipped(path, "not-regular")
    return File(path, status.st_size, min(max(EARLIEST, status.st_mtime_ns), LATEST))


def _excluded(patterns: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns), re.DOTALL) if patterns else None


TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?.[^\]]*\]|.", re.DOTALL)


def _expression(pattern: str) -> str:
    """A pattern as a regular expression on a whole relative path: `*`, `?` and `[ab]` stay within a name, `**` spans folders."""
    parts = []
    for token in TOKEN.findall(pattern.strip("/")):
        match token:
            case "**/":
                parts.append("(?:[^/]+/)*")
            case "**":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _ if len(token) > 1:  # letters in brackets; fnmatch knows all that can be wrong with them
                parts.append("(?!/)" + translate(token)[: -len(r"\Z")])
            case _:
                parts.append(re.escape(token))
    return "".join(parts) + r"\Z"
