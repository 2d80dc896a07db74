"""Put files at their destinations: complete, durable, and without replacing a file that the plan has not seen."""

import errno
import fcntl
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from time import time_ns
from typing import cast

from pyconquest_rules.content import Assembled, NotTransformed, Stamp
from pyconquest_rules.disk.contents import Digests, digests, write
from pyconquest_rules.disk.folders import Folders, opened
from pyconquest_rules.disk.hashing import hash_of, hashed, open_file
from pyconquest_rules.disk.outputs import Guard, Outputs
from pyconquest_rules.disk.sources import Changed, is_unchanged
from pyconquest_rules.disk.young import is_young
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.steps import Mode, PutFile

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
FICLONE = 0x40049409  # linux/fs.h
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class StepError(Exception):
    """The reason why a step failed, without patient data."""


@dataclass(frozen=True, slots=True)
class Put:
    """A file at its destination: the SHA-256 of its bytes in hexadecimal, its stamp, and the SHA-256 of its source.

    `young` means that it or its source could still change without a new mtime. `parts` is what the assembler of an assembled
    file returned.
    """

    sha256: str
    stamp: Stamp
    source_sha256: str
    young: bool = False
    parts: bytes | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A complete file under its temporary name: the file that it will be, and its inode, which stays the same."""

    put: Put
    inode: int


def put(operation: PutFile, outputs: Outputs, part: str) -> Put:
    """Do one operation. `part` is the name of the temporary file in the destination folder. Raises StepError."""
    together = PutTogether([(operation, part)], Folders(outputs))
    together.make()
    [result] = together.place()
    if isinstance(result, StepError):
        raise result
    return result


class PutTogether:
    """Does several operations side by side, so that they share each wait for the disk. Call `make`, then `place`.

    Between the two, the caller can record the files that are about to get their names. `close` instead of `place` deletes the
    temporary files.
    """

    def __init__(self, operations: Sequence[tuple[PutFile, str]], folders: Folders) -> None:
        """Each operation has the name of its temporary file."""
        self._operations, self._results = [operation for operation, _ in operations], dict[int, Put | StepError]()
        self._stack = ExitStack()
        self._stack.enter_context(folders)
        self._running = [self._stack.enter_context(closing(_putting(*each, folders))) for each in operations]

    def make(self) -> list[Made | None]:
        """Write every temporary file, durably. Return them in the order of the operations; None for one that failed or adopts."""
        self._advance()
        return self._advance()

    def place(self) -> list[Put | StepError]:
        """Give the files their names, durably. Return the outcome of each operation."""
        with self._stack:
            while len(self._results) < len(self._running):
                self._advance()
        return [self._results[number] for number in range(len(self._running))]

    def close(self) -> None:
        """Delete the temporary files and close the folders."""
        self._stack.close()

    def _advance(self) -> list[Made | None]:
        """Run every operation up to its next `yield`. Return what they yield."""
        return [None if number in self._results else self._next(number) for number in range(len(self._running))]

    def _next(self, number: int) -> Made | None:
        try:
            return next(self._running[number])
        except StopIteration as end:
            self._results[number] = cast(Put, end.value)
        except StepError as error:
            self._results[number] = error
        except (Changed, NotTransformed, UnsafePath) as error:
            self._results[number] = StepError(str(error))
        except OSError as error:
            self._results[number] = StepError(_explained(error, self._operations[number]))
        return None


def take_away(operation: PutFile, outputs: Outputs, guard: Guard) -> None:
    """Delete the source of a move, after the ledger has recorded the destination. Raises StepError.

    The guard makes sure that the destination is not the source under another name.
    """
    folder, _, name = operation.destination.rpartition("/")
    try:
        status = os.stat(operation.source)
        if Stamp.of(status) != operation.stamp:
            raise StepError(str(Changed()))
        with opened(outputs, folder, guard=guard) as descriptor:
            if os.path.samestat(status, os.stat(name, dir_fd=descriptor)):
                raise StepError("source and destination are the same file; the source stays")
            os.unlink(operation.source)
    except UnsafePath as error:
        raise StepError(f"{error}; the source stays") from None
    except OSError as error:
        raise StepError(_explained(error, operation)) from None


def _putting(operation: PutFile, part: str, folders: Folders) -> Generator[Made | None, None, Put]:
    """Do one operation. Yield at each point where the other operations catch up; the second `yield` returns the file made.

    Write `part` while hashing, fsync it, link or rename it without replacing, fsync the folder. The source of a move stays until
    `take_away`. Raises StepError, UnsafePath, OSError.
    """
    parent, _, name = operation.destination.rpartition("/")
    began = time_ns()
    if not isinstance(operation.content, Assembled) and not is_unchanged(operation.source, operation.stamp):
        raise Changed
    folder = folders.descriptor(parent, name, make=not operation.adopt)
    with _adopted(operation, folder, name) if operation.adopt else _part(operation, folder, part) as (digest, file):
        yield None
        if file is not None:
            os.fsync(file)
        yield None if operation.adopt else _made(digest, folder, part)
        if not operation.adopt:
            _take_place(operation.there, folder, name, part)
    yield None
    folders.sync(parent)
    if operation.mode is Mode.MOVE and not operation.adopt and hash_of(name, folder) != digest.delivered:
        raise StepError("the destination differs from the source; the source stays")
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    stamp, now = Stamp.of(status), time_ns()
    young = any(is_young(each.mtime_ns, began, now) for each in (stamp, *_sources(operation, digest)))
    return Put(digest.delivered, stamp, digest.source, young, digest.parts)


def _sources(operation: PutFile, digest: Digests) -> Iterator[Stamp]:
    """Yield the stamp of each file whose bytes an operation delivers."""
    match operation.content:
        case Assembled(parts=parts):
            yield from (part.content.stamp for part in parts()) if digest.parts is not None else ()
        case content:
            yield content.stamp


def _made(digest: Digests, folder: int, part: str) -> Made:
    status = os.stat(part, dir_fd=folder, follow_symlinks=False)
    return Made(Put(digest.delivered, Stamp.of(status), digest.source, parts=digest.parts), status.st_ino)


Making = Iterator[tuple[Digests, int | None]]
"""Yields the digests, and the descriptor of a file to sync."""


@contextmanager
def _adopted(operation: PutFile, folder: int, name: str) -> Making:
    """Write nothing. Raises StepError if the existing file is no longer the one that the plan compared."""
    digest = digests(operation.content)
    with nullcontext() if operation.mode is Mode.SYMLINK else open_file(name, os.O_RDONLY | os.O_NOFOLLOW, folder) as file:
        if (file is not None and hashed(file) != digest.delivered) or _stamp(folder, name) != operation.there:
            raise StepError("the destination changed since it was planned")
        yield digest, file


@contextmanager
def _part(operation: PutFile, folder: int, part: str) -> Making:
    """Make the temporary file, and delete it after a failure."""
    try:
        with MAKERS[operation.mode](operation, folder, part) as made:
            yield made
    except BaseException:
        with suppress(OSError):
            os.unlink(part, dir_fd=folder)
        raise


@contextmanager
def _write(operation: PutFile, folder: int, part: str) -> Making:
    """Write the content, with the mtime of its source if it is of one."""
    with open_file(part, NEW, folder) as target:
        digest = write(operation.content, target)
        if not isinstance(operation.content, Assembled):
            os.utime(target, ns=(operation.stamp.mtime_ns, operation.stamp.mtime_ns))
        if sys.platform == "linux":
            # The disk starts to write while the next file is read, so that the fsyncs that follow are short.
            os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
        yield digest, target


@contextmanager
def _clone(operation: PutFile, folder: int, part: str) -> Making:
    """Copy the source, sharing its blocks. Raises OSError if the file system cannot."""
    with open_file(part, NEW, folder) as target:
        with open_file(operation.source, os.O_RDONLY) as source:
            fcntl.ioctl(target, FICLONE, source)
        os.utime(target, ns=(operation.stamp.mtime_ns, operation.stamp.mtime_ns))
        yield Digests.of(hash_of(part, folder)), target


@contextmanager
def _hardlink(operation: PutFile, folder: int, part: str) -> Making:
    os.link(operation.source, part, dst_dir_fd=folder)
    yield Digests.of(hash_of(part, folder)), None


@contextmanager
def _symlink(operation: PutFile, folder: int, part: str) -> Making:
    os.symlink(operation.source, part, dir_fd=folder)
    yield Digests.of(hash_of(operation.source)), None


MAKERS: dict[Mode, Callable[[PutFile, int, str], AbstractContextManager[tuple[Digests, int | None]]]] = {
    Mode.COPY: _write,
    Mode.MOVE: _write,
    Mode.REFLINK: _clone,
    Mode.HARDLINK: _hardlink,
    Mode.SYMLINK: _symlink,
}


def _take_place(there: Stamp | None, folder: int, name: str, part: str) -> None:
    """Give `part` its final name. Raises StepError if the existing file is not the one that the plan saw."""
    if _stamp(folder, name) != there:
        raise StepError("the destination changed since it was planned")
    if there is not None or not _linked(folder, name, part):
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    with suppress(FileNotFoundError):  # `part` remains after a link, and after a rename to the same file
        os.unlink(part, dir_fd=folder)


def _linked(folder: int, name: str, part: str) -> bool:
    """Name a new file by a hard link, which never replaces. Return False if the file system has no hard links (FAT)."""
    try:
        os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise StepError("the destination changed since it was planned") from None
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise
    return True


def _stamp(folder: int, name: str) -> Stamp | None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Stamp.of(status)


def _explained(error: OSError, operation: PutFile) -> str:
    links = operation.mode not in (Mode.COPY, Mode.MOVE)
    at_source = error.filename == operation.source
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "no space is left at the destination"
        case errno.EXDEV:
            return 'source and destination are on different file systems: use mode = "copy"'
        case errno.EOPNOTSUPP | errno.ENOTTY | errno.EINVAL | errno.EPERM | errno.EMLINK if links:
            return 'the file system of the destination does not support this mode: use mode = "copy"'
        case errno.ELOOP | errno.ENOTDIR if not at_source:
            return "a folder of the destination is a link or a file"
        case errno.ENOENT if at_source:
            return "the source is gone"
    where = "the source: " if at_source else "the destination: " if error.filename else ""
    return where + (os.strerror(error.errno) if error.errno else "input/output error")
