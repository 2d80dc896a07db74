"""Walking a source: every file below a root exactly once, in the order of the bytes of its path."""

import errno
import os
import re
import stat
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pyconquest_rules.content import EARLIEST, LATEST, Stamp
from pyconquest_rules.disk.file import File
from pyconquest_rules.index.scan.patterns import ENCODING, ERRORS, expression
from pyconquest_rules.index.scan.trees import Shared, Tree

# What is said of a link whose target is not there, cannot be, or is the link itself.
LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

OTHER = "other-source"
"""The reason of what an earlier source has. Nothing is said of it: the other source does so."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """What is not read, and why.

    `excluded, own, other-source, not-regular, link-outside, link-to-folder, link-broken, unreadable`.
    """

    path: bytes
    reason: str


Run = list[tuple[bytes, int, int]]
"""Files that follow each other in one folder: path, size and mtime of each, as the file system tells them."""


def walk(root: bytes, exclude: Sequence[str] = (), own: frozenset[bytes] = frozenset()) -> Iterator[File | Skipped]:
    """Everything below `root`, a real path, in the byte order of the relative paths; a folder as if its path ended in "/".

    Links to folders are not followed, links to files only where they stay inside `root`. What a pattern of `exclude`
    matches is left out whole. `own` are real paths of files and folders of ours. A folder is told only where it is left out.
    Nothing is opened but folders. Raises OSError where `root` itself cannot be listed.
    """
    for found in runs(root, exclude, own):
        yield from entries(found)


def entries(found: Run | Skipped) -> Iterator[File | Skipped]:
    """What `runs` gives, one by one, with times that SQLite can hold."""
    if isinstance(found, Skipped):
        yield found
    else:
        yield from files_of(found)


def files_of(run: Run) -> Iterator[File]:
    """The files of a run, with times that SQLite can hold."""
    for path, size, mtime_ns in run:
        yield File(path, size, min(max(EARLIEST, mtime_ns), LATEST))


def runs(
    root: bytes, exclude: Sequence[str] = (), own: frozenset[bytes] = frozenset(), before: Sequence[Tree] = ()
) -> Iterator[Run | Skipped]:
    """As `walk`, but with files in runs, none of them empty; a folder with nothing but files in it is one.

    What the sources `before` have is left out too.
    """
    inside = root.rstrip(b"/") + b"/"
    left_out = _LeftOut(
        expression(exclude),
        {path.removeprefix(inside) for path in own if path.startswith(inside)},
        _own_names(own),
        tuple(Shared(tree, root) for tree in before),
    )
    # The folders on the way down, each as what is still to be seen of it: memory grows with depth, not with the tree.
    trail = [_parts(root, b"", left_out)]
    while trail:
        part = next(trail[-1], None)
        if part is None:
            trail.pop()
        elif isinstance(part, list):
            yield part
        elif reason := left_out.reason(part):
            yield Skipped(part.removesuffix(b"/"), reason)
        elif part.endswith(b"/"):
            try:
                trail.append(_parts(root, part, left_out))
            except FileNotFoundError:  # it vanished since its parent was listed
                continue
            except OSError:
                yield Skipped(part.removesuffix(b"/"), "unreadable")
        elif found := _file(root, part):
            yield [found] if isinstance(found, File) else found


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """What is left out of a walk: what a pattern matches, paths of ours, and what other sources have."""

    excluded: re.Pattern[str] | None
    own: set[bytes]
    own_names: Mapping[tuple[int, int], list[bytes]]
    shared: tuple[Shared, ...]

    def __bool__(self) -> bool:
        return bool(self.excluded or self.own or self.own_names or self.shared)

    def enter(self, folder: bytes, descriptor: int) -> None:
        """Note what is ours in an open folder, whatever path leads to it."""
        status = os.fstat(descriptor)
        for name in self.own_names.get((status.st_dev, status.st_ino), ()):
            self.own.add(folder + name)

    def reason(self, part: bytes) -> str | None:
        """Why a path, that of a folder with a "/" at its end, is left out; None if it is not."""
        path = part.removesuffix(b"/")
        if self.excluded and self.excluded.match(path.decode(ENCODING, ERRORS)):
            return "excluded"
        if path in self.own:
            return "own"
        return OTHER if self.shared and any(shared.has(part) for shared in self.shared) else None


def _own_names(own: Iterable[bytes]) -> dict[tuple[int, int], list[bytes]]:
    """The names of paths of ours by device and inode of their folders."""
    found = dict[tuple[int, int], list[bytes]]()
    for path in own:
        with suppress(OSError):
            status = os.stat(os.path.dirname(path))
            found.setdefault((status.st_dev, status.st_ino), []).append(os.path.basename(path))
    return found


def _parts(root: bytes, folder: bytes, left_out: _LeftOut) -> Iterator[Run | bytes]:
    """What is in a folder, whose path is empty or ends in "/": its files in runs, and between them the paths of all else.

    The paths of folders have a "/" at the end: so sorted, all paths below are sorted too.
    """
    files, others = _listing(root, folder, left_out)
    return _divided(sorted(files), sorted(others))


def _divided(files: Run, others: list[bytes]) -> Iterator[Run | bytes]:
    start = 0
    for other in others:
        end = bisect(files, (other, -1, 0), start)
        if start < end:
            yield files[start:end]
        yield other
        start = end
    if start < len(files):
        yield files[start:]


def _listing(root: bytes, folder: bytes, left_out: _LeftOut) -> tuple[Run, list[bytes]]:
    """The files of a folder, and the paths of what is none, is left out, or went away."""
    files: Run = []
    others: list[bytes] = []
    reason = left_out.reason if left_out else None
    # Below an open folder the system finds a file sooner than by its whole path.
    flags = os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if folder else 0)
    descriptor = os.open(os.path.join(root, folder.removesuffix(b"/")), flags)
    try:
        if left_out.own_names:
            left_out.enter(folder, descriptor)
        with os.scandir(descriptor) as found:
            for entry in found:
                path = folder + entry.name.encode(ENCODING, ERRORS)
                try:
                    if not entry.is_file(follow_symlinks=False):
                        others.append(path + b"/" if entry.is_dir(follow_symlinks=False) else path)
                    elif reason and reason(path):
                        others.append(path)
                    else:
                        status = entry.stat(follow_symlinks=False)
                        files.append((path, status.st_size, status.st_mtime_ns))
                except OSError:
                    others.append(path)
    finally:
        os.close(descriptor)
    return files, others


def _file(root: bytes, path: bytes) -> File | Skipped | None:
    """What is at a path that is no folder; None where it vanished since the folder was listed."""
    whole = os.path.join(root, path)
    try:
        status = os.lstat(whole)
        if stat.S_ISLNK(status.st_mode):
            if not os.path.realpath(whole).startswith(root.rstrip(b"/") + b"/"):
                return Skipped(path, "link-outside")
            try:
                status = os.stat(whole)
            except OSError as error:
                return Skipped(path, "link-broken" if error.errno in LEADS_NOWHERE else "unreadable")
            if stat.S_ISDIR(status.st_mode):
                return Skipped(path, "link-to-folder")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return Skipped(path, "unreadable")
    if not stat.S_ISREG(status.st_mode):
        return Skipped(path, "not-regular")
    return File(path, *Stamp.of(status))
