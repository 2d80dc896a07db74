"""Bringing files to their destinations: whole, durable and without ever replacing what the plan has not seen."""

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from time import time_ns
from typing import cast

from pyconquest_rules.content import Content, NotTransformed, Stamp
from pyconquest_rules.disk.contents import Changed, Digests, digests, hash_of, hashed, write
from pyconquest_rules.disk.folders import Folders, opened
from pyconquest_rules.disk.outputs import Guard, Outputs
from pyconquest_rules.disk.young import is_young
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.steps import Mode, PutFile

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
FICLONE = 0x40049409  # linux/fs.h
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


SOURCE_CHANGED = "the source changed since it was indexed; run again"


class StepError(Exception):
    """Why a step was not done, without a value of a patient."""


@dataclass(frozen=True, slots=True)
class Put:
    """A file at its destination: the SHA-256 of its bytes in hexadecimal, its stamp, and the SHA-256 of its source.

    `young`: it, or its source, could change without a change of its time.
    """

    sha256: str
    stamp: Stamp
    source_sha256: str
    young: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """A complete file under its temporary name: what it will be once it is placed, and the inode that it keeps."""

    put: Put
    inode: int


def put(operation: PutFile, outputs: Outputs, part: str) -> Put:
    """Does one operation. `part` is the name of the temporary file in the destination's folder. Raises StepError."""
    together = PutTogether([(operation, part)], Folders(outputs))
    together.make()
    [result] = together.place()
    if isinstance(result, StepError):
        raise result
    return result


class PutTogether:
    """Operations that go abreast, so that a wait for the disk serves all of them, in two halves: `make`, then `place`.

    Between the two the caller can note what is about to get its name. `close` instead of `place` takes away what was made.
    """

    def __init__(self, operations: Sequence[tuple[PutFile, str]], folders: Folders) -> None:
        """`operations`, each with the name of its temporary file."""
        self._operations, self._results = [operation for operation, _ in operations], dict[int, Put | StepError]()
        self._stack = ExitStack()
        self._stack.enter_context(folders)
        self._running = [self._stack.enter_context(closing(_putting(*each, folders))) for each in operations]

    def make(self) -> list[Made | None]:
        """Write every temporary file, durably. Return each in the order of operations; None if it failed or adopts."""
        self._advance()
        return self._advance()

    def place(self) -> list[Put | StepError]:
        """Give the files their names, durably. Return what became of each operation."""
        with self._stack:
            while len(self._results) < len(self._running):
                self._advance()
        return [self._results[number] for number in range(len(self._running))]

    def close(self) -> None:
        """Close what is open."""
        self._stack.close()

    def _advance(self) -> list[Made | None]:
        """Let every operation go on to its next `yield`. Return what they yield."""
        return [None if number in self._results else self._next(number) for number in range(len(self._running))]

    def _next(self, number: int) -> Made | None:
        try:
            return next(self._running[number])
        except StopIteration as end:
            self._results[number] = cast(Put, end.value)
        except StepError as error:
            self._results[number] = error
        except (NotTransformed, UnsafePath) as error:
            self._results[number] = StepError(str(error))
        except Changed:
            self._results[number] = StepError(SOURCE_CHANGED)
        except OSError as error:
            self._results[number] = StepError(_explained(error, self._operations[number]))
        return None


def take_away(operation: PutFile, outputs: Outputs, guard: Guard) -> None:
    """The end of a move, once the ledger knows where the bytes are: removes the source. Raises StepError.

    The guard sees that the destination is not the source under another name.
    """
    folder, _, name = operation.destination.rpartition("/")
    try:
        status = os.stat(operation.source)
        _same_source(operation, status)
        with opened(outputs, folder, guard=guard) as descriptor:
            if os.path.samestat(status, os.stat(name, dir_fd=descriptor)):
                raise StepError("source and destination are one file, which stays")
            os.unlink(operation.source)
    except UnsafePath as error:
        raise StepError(f"{error}; the source stays") from None
    except OSError as error:
        raise StepError(_explained(error, operation)) from None


def _putting(operation: PutFile, part: str, folders: Folders) -> Generator[Made | None, None, Put]:
    """One operation, to be gone on with when all that are done together have come as far. The second `yield` is what was made.

    Order: write `part` while hashing, fsync, link or rename without replacing, fsync the folder. The source of a move stays
    until `take_away`. Raises StepError, UnsafePath, OSError.
    """
    place, _, name = operation.destination.rpartition("/")
    began = time_ns()
    _same_source(operation, os.stat(operation.source))
    folder = folders.descriptor(place, name, make=not operation.adopt)
    with _adopted(operation, folder, name) if operation.adopt else _part(operation, folder, part) as (digest, file):
        yield None
        if file is not None:
            os.fsync(file)
        yield None if operation.adopt else _made(digest, folder, part)
        if not operation.adopt:
            _take_place(operation.there, folder, name, part)
    yield None
    folders.sync(place)
    if operation.mode is Mode.MOVE and not operation.adopt and hash_of(name, folder) != digest.delivered:
        raise StepError("the destination does not hold the bytes of the source, which stays")
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    stamp, now = Stamp.of(status), time_ns()
    young = any(is_young(each.mtime_ns, began, now) for each in (stamp, operation.stamp))
    return Put(digest.delivered, stamp, digest.source, young)


def _made(digest: Digests, folder: int, part: str) -> Made:
    status = os.stat(part, dir_fd=folder, follow_symlinks=False)
    return Made(Put(digest.delivered, Stamp.of(status), digest.source), status.st_ino)


Making = Iterator[tuple[Digests, int | None]]  # and the descriptor of a file that is to be synced


@contextmanager
def _adopted(operation: PutFile, folder: int, name: str) -> Making:
    """Nothing is written; what stands there must still be what the plan compared."""
    digest = digests(operation.content)
    with nullcontext() if operation.mode is Mode.SYMLINK else _open(name, os.O_RDONLY | os.O_NOFOLLOW, folder) as file:
        if (file is not None and hashed(file) != digest.delivered) or _stamp(folder, name) != operation.there:
            raise StepError("the destination changed since it was planned")
        yield digest, file


@contextmanager
def _part(operation: PutFile, folder: int, part: str) -> Making:
    """What will be given its final name within; a failure takes it away."""
    try:
        with MAKERS[operation.mode](operation, folder, part) as made:
            yield made
    except BaseException:
        with suppress(OSError):
            os.unlink(part, dir_fd=folder)
        raise


@contextmanager
def _write(operation: PutFile, folder: int, part: str) -> Making:
    """A copy with the mtime of its source."""
    with _open(part, NEW, folder) as target:
        digest = write(operation.content, target)
        os.utime(target, ns=(operation.stamp.mtime_ns, operation.stamp.mtime_ns))
        if sys.platform == "linux":
            # The disk begins with it while the next file is read, and the fsync of one file finds all of them under way.
            os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
        yield digest, target


@contextmanager
def _clone(operation: PutFile, folder: int, part: str) -> Making:
    """A copy that shares its blocks with the source, where the file system can."""
    with _open(part, NEW, folder) as target:
        with _open(operation.source, os.O_RDONLY) as source:
            fcntl.ioctl(target, FICLONE, source)
        os.utime(target, ns=(operation.stamp.mtime_ns, operation.stamp.mtime_ns))
        yield _same(hash_of(part, folder)), target


@contextmanager
def _hardlink(operation: PutFile, folder: int, part: str) -> Making:
    os.link(operation.source, part, dst_dir_fd=folder)
    yield _same(hash_of(part, folder)), None


@contextmanager
def _symlink(operation: PutFile, folder: int, part: str) -> Making:
    os.symlink(operation.source, part, dir_fd=folder)
    yield _same(hash_of(operation.source)), None


def _same(digest: str) -> Digests:
    return Digests(digest, digest)


MAKERS: dict[Mode, Callable[[PutFile, int, str], AbstractContextManager[tuple[Digests, int | None]]]] = {
    Mode.COPY: _write,
    Mode.MOVE: _write,
    Mode.REFLINK: _clone,
    Mode.HARDLINK: _hardlink,
    Mode.SYMLINK: _symlink,
}


@contextmanager
def _open(path: str | bytes, flags: int, folder: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take_place(there: Stamp | None, folder: int, name: str, part: str) -> None:
    """Gives `part` its final name, in the place of nothing else than what the plan saw."""
    if _stamp(folder, name) != there:
        raise StepError("the destination changed since it was planned")
    if there is not None or not _linked(folder, name, part):
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    with suppress(FileNotFoundError):  # it is there still where it was linked, or where both were one file already
        os.unlink(part, dir_fd=folder)


def _linked(folder: int, name: str, part: str) -> bool:
    """Gives a new file its name, which cannot replace. False where the file system, as on a memory stick, has no hard links."""
    try:
        os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise StepError("the destination changed since it was planned") from None
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise
    return True


def _same_source(operation: PutFile, status: os.stat_result) -> None:
    if Stamp.of(status) != operation.stamp:
        raise StepError(SOURCE_CHANGED)


def _stamp(folder: int, name: str) -> Stamp | None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Stamp.of(status)


def is_made(mode: Mode, content: Content, destination: str, outputs: Outputs) -> bool:
    """Return whether a destination has what an operation of this mode would put there."""
    folder, _, name = destination.rpartition("/")
    try:
        with opened(outputs, folder) as descriptor:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            match mode:
                case Mode.SYMLINK:
                    return os.fsencode(os.readlink(name, dir_fd=descriptor)) == content.source
                case Mode.HARDLINK:
                    return os.path.samestat(status, os.stat(content.source))
                case _:
                    return stat.S_ISREG(status.st_mode) and hash_of(name, descriptor) == digests(content).delivered
    except (Changed, NotTransformed, OSError):
        return False


def is_left(destination: str, source: bytes, sha256: str, outputs: Outputs) -> bool:
    """Whether an existing file has the bytes of a digest, or an existing link leads to `source`."""
    folder, _, name = destination.rpartition("/")
    try:
        with opened(outputs, folder) as descriptor:
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                return os.fsencode(os.readlink(name, dir_fd=descriptor)) == source
            return stat.S_ISREG(mode) and hash_of(name, descriptor) == sha256
    except OSError:
        return False


def _explained(error: OSError, operation: PutFile) -> str:
    links = operation.mode not in (Mode.COPY, Mode.MOVE)
    at_source = error.filename == operation.source
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "no space is left at the destination"
        case errno.EXDEV:
            return 'source and destination are on different file systems: use mode = "copy"'
        case errno.EOPNOTSUPP | errno.ENOTTY | errno.EINVAL | errno.EPERM | errno.EMLINK if links:
            return 'the file system of the destination cannot do that: use mode = "copy"'
        case errno.ELOOP | errno.ENOTDIR if not at_source:
            return "a link or a file stands where a folder of the destination should be"
        case errno.ENOENT if at_source:
            return "the source is gone"
    where = "the source: " if at_source else "the destination: " if error.filename else ""
    return where + (os.strerror(error.errno) if error.errno else "input/output error")
