"""Walking a source: every file below a root exactly once, in the order of the bytes of its path."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


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
    """Everything below `root`, a real path, in the byte order of the relative paths.

    Links to folders are not followed, links to files only where they stay inside `root`. What a pattern of `exclude`
    matches is left out whole. `own` are real paths of files and folders of ours.
    Nothing is opened but folders. Raises OSError where `root` itself cannot be listed.
    """
    excluded = _excluded(exclude)
    # The folders on the way down, each as what is still to be seen of it: memory grows with depth, not with the tree.
    trail = [iter(_listing(root, b""))]
    while trail:
        entry = next(trail[-1], None)
        if entry is None:
            trail.pop()
            continue
        path, found = entry
        if excluded and excluded.match(os.fsdecode(path)):
            yield Skipped(path, "excluded")
        elif found.path in own:
            yield Skipped(path, "own")
        elif found.is_dir(follow_symlinks=False):
            try:
                trail.append(iter(_listing(found.path, path + b"/")))
            except OSError:
                yield Skipped(path, "unreadable")
        else:
            yield _file(root, path, found)


def _listing(folder: bytes, prefix: bytes) -> list[tuple[bytes, os.DirEntry[bytes]]]:
    """The entries of a folder with their relative paths. A folder sorts as if its name ended in "/", so that whole paths sort."""
    with os.scandir(folder) as entries:
        found = [(entry.name + b"/" if entry.is_dir(follow_symlinks=False) else entry.name, entry) for entry in entries]
    return [(prefix + entry.name, entry) for _, entry in sorted(found, key=lambda pair: pair[0])]


def _file(root: bytes, path: bytes, entry: os.DirEntry[bytes]) -> File | Skipped:
    try:
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            target = os.path.realpath(entry.path)
            if not target.startswith(root.rstrip(b"/") + b"/"):
                return Skipped(path, "link-outside")
            status = os.stat(entry.path)
            if stat.S_ISDIR(status.st_mode):
                return Skipped(path, "link-to-folder")
    except FileNotFoundError:
        return Skipped(path, "link-broken")
    except OSError:
        return Skipped(path, "link-broken" if entry.is_symlink() else "unreadable")
    if not stat.S_ISREG(status.st_mode):
        return Skipped(path, "not-regular")
    return File(path, status.st_size, status.st_mtime_ns)


def _excluded(patterns: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns), re.DOTALL) if patterns else None


def _expression(pattern: str) -> str:
    """A pattern as a regular expression on a whole relative path: `*` and `?` stay within a name, `**` spans folders."""
    parts = []
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern.strip("/"), re.DOTALL):
        match token:
            case "**/":
                parts.append("(?:[^/]+/)*")
            case "**":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _ if len(token) > 1:
                parts.append("[^" + token[2:] if token[1] == "!" else token)
            case _:
                parts.append(re.escape(token))
    return "".join(parts) + r"\Z"
