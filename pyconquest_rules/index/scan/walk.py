"""Walking a source: every file below a root exactly once, in the byte order of its path."""

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

# The errors for a link whose target is missing, impossible, or the link itself.
BROKEN_LINK = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

OTHER = "other-source"
"""The reason of files that belong to an earlier source. They are not reported, because that source reports them."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that is not read, and the reason.

    Reasons are `excluded, own, other-source, not-regular, link-outside, link-to-folder, link-broken, unreadable`.
    """

    path: bytes
    reason: str


Run = list[tuple[bytes, int, int]]
"""Consecutive files of one folder: path, size and mtime of each, as the file system has them."""


def walk(root: bytes, exclude: Sequence[str] = (), own: frozenset[bytes] = frozenset()) -> Iterator[File | Skipped]:
    """Yield everything below `root`, a real path, in the byte order of relative paths. Folders sort as if they ended in "/".

    Links to folders are not followed, links to files only if the target is inside `root`. A folder that `exclude` matches is
    skipped with everything in it. `own` are real paths of files and folders of this program. Folders are yielded only if
    they are skipped. Only folders are opened. Raises OSError if `root` itself cannot be listed.
    """
    for found in runs(root, exclude, own):
        yield from entries(found)


def entries(found: Run | Skipped) -> Iterator[File | Skipped]:
    """Yield one result of `runs` entry by entry, with times that fit into SQLite."""
    if isinstance(found, Skipped):
        yield found
    else:
        yield from files_of(found)


def files_of(run: Run) -> Iterator[File]:
    """Yield the files of a run, with times that fit into SQLite."""
    for path, size, mtime_ns in run:
        yield File(path, size, min(max(EARLIEST, mtime_ns), LATEST))


def runs(
    root: bytes, exclude: Sequence[str] = (), own: frozenset[bytes] = frozenset(), before: Sequence[Tree] = ()
) -> Iterator[Run | Skipped]:
    """Walk as `walk` does, but yield files in runs. A folder that has only files is one run. No run is empty.

    Files of the sources `before` are skipped too.
    """
    inside = root.rstrip(b"/") + b"/"
    left_out = _LeftOut(
        expression(exclude),
        {path.removeprefix(inside) for path in own if path.startswith(inside)},
        _own_names(own),
        tuple(Shared(tree, root) for tree in before),
    )
    # The open folders from the root down, each with its remaining entries. Memory grows with the depth, not with the tree.
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
    """What a walk skips: excluded paths, paths of this program, and files of other sources."""

    excluded: re.Pattern[str] | None
    own: set[bytes]
    own_names: Mapping[tuple[int, int], list[bytes]]
    shared: tuple[Shared, ...]

    def __bool__(self) -> bool:
        return bool(self.excluded or self.own or self.own_names or self.shared)

    def enter(self, folder: bytes, descriptor: int) -> None:
        """Note the paths of this program in an open folder. They are found by inode, whatever path leads to the folder."""
        status = os.fstat(descriptor)
        for name in self.own_names.get((status.st_dev, status.st_ino), ()):
            self.own.add(folder + name)

    def reason(self, part: bytes) -> str | None:
        """Return why a path is skipped; None if it is not. The path of a folder has a "/" at its end."""
        path = part.removesuffix(b"/")
        if self.excluded and self.excluded.match(path.decode(ENCODING, ERRORS)):
            return "excluded"
        if path in self.own:
            return "own"
        return OTHER if self.shared and any(shared.has(part) for shared in self.shared) else None


def _own_names(own: Iterable[bytes]) -> dict[tuple[int, int], list[bytes]]:
    """Return the names of the paths `own` by device and inode of their folders."""
    found = dict[tuple[int, int], list[bytes]]()
    for path in own:
        with suppress(OSError):
            status = os.stat(os.path.dirname(path))
            found.setdefault((status.st_dev, status.st_ino), []).append(os.path.basename(path))
    return found


def _parts(root: bytes, folder: bytes, left_out: _LeftOut) -> Iterator[Run | bytes]:
    """Yield the files of a folder in runs, and between them the paths of everything else in it.

    The path of the folder is empty or ends in "/". So do the paths of folders in it: sorted like this, all paths below them
    are in order too.
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
    """Return the files of a folder, and the paths of everything else: what is not a file, is skipped, or vanished."""
    files: Run = []
    others: list[bytes] = []
    reason = left_out.reason if left_out else None
    # The system finds a file faster below an open folder than by its absolute path.
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
    """Return the entry at a path that is not a folder; None if it vanished since its folder was listed."""
    whole = os.path.join(root, path)
    try:
        status = os.lstat(whole)
        if stat.S_ISLNK(status.st_mode):
            if not os.path.realpath(whole).startswith(root.rstrip(b"/") + b"/"):
                return Skipped(path, "link-outside")
            try:
                status = os.stat(whole)
            except OSError as error:
                return Skipped(path, "link-broken" if error.errno in BROKEN_LINK else "unreadable")
            if stat.S_ISDIR(status.st_mode):
                return Skipped(path, "link-to-folder")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return Skipped(path, "unreadable")
    if not stat.S_ISREG(status.st_mode):
        return Skipped(path, "not-regular")
    return File(path, *Stamp.of(status))
