"""Bringing files to their destinations: whole, durable and without ever replacing what the plan has not seen."""

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from pyconquest_rules.execute.folders import Folders, opened
from pyconquest_rules.outputs import Guard, Outputs
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.steps import Mode, PutFile, Stamp

BLOCK = 1 << 18
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
FICLONE = 0x40049409  # linux/fs.h
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class StepError(Exception):
    """Why a step was not done, without a value of a patient."""


@dataclass(frozen=True, slots=True)
class Put:
    """A file at its destination: SHA-256 of its bytes in hexadecimal, and how it was left."""

    sha256: str
    stamp: Stamp


def put(operation: PutFile, outputs: Outputs, part: str) -> Put:
    """Does one operation. `part` is the name of the temporary file in the destination's folder. Raises StepError."""
    [result] = put_together([(operation, part)], Folders(outputs))
    if isinstance(result, StepError):
        raise result
    return result


def put_together(operations: Sequence[tuple[PutFile, str]], folders: Folders) -> list[Put | StepError]:
    """Does operations, each with the name of its temporary file, and gives what became of each, in their order.

    They go abreast from one `yield` of `_putting` to the next, so that a wait for the disk serves all of them.
    """
    results: dict[int, Put | StepError] = {}
    with folders, ExitStack() as stack:
        running = [stack.enter_context(closing(_putting(operation, part, folders))) for operation, part in operations]
        while len(results) < len(running):
            for number, putting in enumerate(running):
                if number not in results and (result := _advance(putting, operations[number][0])) is not None:
                    results[number] = result
    return [results[number] for number in range(len(running))]


def _advance(putting: Generator[None, None, Put], operation: PutFile) -> Put | StepError | None:
    """What became of an operation, or None where it goes on."""
    try:
        return next(putting)
    except StopIteration as end:
        return cast(Put, end.value)
    except StepError as error:
        return error
    except UnsafePath as error:
        return StepError(str(error))
    except OSError as error:
        return StepError(_explained(error, operation))


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


def _putting(operation: PutFile, part: str, folders: Folders) -> Generator[None, None, Put]:
    """One operation, to be gone on with when all that are done together have come as far.

    Order: write `part` while hashing, fsync, link or rename without replacing, fsync the folder. The source of a move stays
    until `take_away`. Raises StepError, UnsafePath, OSError.
    """
    place, _, name = operation.destination.rpartition("/")
    _same_source(operation, os.stat(operation.source))
    folder = folders.descriptor(place, name, make=not operation.adopt)
    with _adopted(operation, folder, name) if operation.adopt else _part(operation, folder, part) as (digest, file):
        yield
        if file is not None:
            os.fsync(file)
        yield
        if not operation.adopt:
            _take_place(operation.there, folder, name, part)
    yield
    folders.sync(place)
    if operation.mode is Mode.MOVE and not operation.adopt and hash_of(name, folder) != digest:
        raise StepError("the destination does not hold the bytes of the source, which stays")
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return Put(digest, Stamp(status.st_size, status.st_mtime_ns))


Made = Iterator[tuple[str, int | None]]  # SHA-256, and the descriptor of a file that is to be synced


@contextmanager
def _adopted(operation: PutFile, folder: int, name: str) -> Made:
    """Nothing is written; what stands there must still be what the plan compared."""
    digest = hash_of(operation.source)
    with nullcontext() if operation.mode is Mode.SYMLINK else _open(name, os.O_RDONLY | os.O_NOFOLLOW, folder) as file:
        if (file is not None and _hashed(file) != digest) or _stamp(folder, name) != operation.there:
            raise StepError("the destination changed since it was planned")
        yield digest, file


@contextmanager
def _part(operation: PutFile, folder: int, part: str) -> Made:
    """What will be given its final name within; a failure takes it away."""
    try:
        with MAKERS[operation.mode](operation, folder, part) as made:
            yield made
    except BaseException:
        with suppress(OSError):
            os.unlink(part, dir_fd=folder)
        raise


@contextmanager
def _write(operation: PutFile, folder: int, part: str) -> Made:
    """A copy with the mtime of its source."""
    with _open(part, NEW, folder) as target:
        with _open(operation.source, os.O_RDONLY) as source:
            digest = _hashed(source, target)
            _same_source(operation, os.fstat(source))
        os.utime(target, ns=(operation.stamp.mtime_ns, operation.stamp.mtime_ns))
        if sys.platform == "linux":
            # The disk begins with it while the next file is read, and the fsync of one file finds all of them under way.
            os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
        yield digest, target


@contextmanager
def _clone(operation: PutFile, folder: int, part: str) -> Made:
    """A copy that shares its blocks with the source, where the file system can."""
    with _open(part, NEW, folder) as target:
        with _open(operation.source, os.O_RDONLY) as source:
            fcntl.ioctl(target, FICLONE, source)
        os.utime(target, ns=(operation.stamp.mtime_ns, operation.stamp.mtime_ns))
        yield hash_of(part, folder), target


@contextmanager
def _hardlink(operation: PutFile, folder: int, part: str) -> Made:
    os.link(operation.source, part, dst_dir_fd=folder)
    yield hash_of(part, folder), None


@contextmanager
def _symlink(operation: PutFile, folder: int, part: str) -> Made:
    os.symlink(operation.source, part, dir_fd=folder)
    yield hash_of(operation.source), None


MAKERS: dict[Mode, Callable[[PutFile, int, str], AbstractContextManager[tuple[str, int | None]]]] = {
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
    if Stamp(status.st_size, status.st_mtime_ns) != operation.stamp:
        raise StepError("the source changed since it was indexed; run again")


def _stamp(folder: int, name: str) -> Stamp | None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


def _write_all(target: int, block: memoryview) -> None:
    while block:
        block = block[os.write(target, block) :]


def hash_of(path: str | bytes, folder: int | None = None) -> str:
    """SHA-256 in hexadecimal of a file, named from the folder with descriptor `folder`. Raises OSError."""
    with _open(path, os.O_RDONLY, folder) as file:
        return _hashed(file)


def _hashed(file: int, copy: int | None = None) -> str:
    """SHA-256 of what is read from a descriptor, and written to that of a copy."""
    digest, block = sha256(), memoryview(bytearray(BLOCK))
    while size := os.readv(file, [block]):
        digest.update(block[:size])
        if copy is not None:
            _write_all(copy, block[:size])
    return digest.hexdigest()


def is_made(mode: Mode, source: bytes, destination: str, outputs: Outputs) -> bool:
    """Whether what stands at a destination is what an operation of this mode would make of `source`."""
    folder, _, name = destination.rpartition("/")
    try:
        with opened(outputs, folder) as descriptor:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            match mode:
                case Mode.SYMLINK:
                    return os.fsencode(os.readlink(name, dir_fd=descriptor)) == source
                case Mode.HARDLINK:
                    return os.path.samestat(status, os.stat(source))
                case _:
                    return stat.S_ISREG(status.st_mode) and hash_of(name, descriptor) == hash_of(source)
    except OSError:
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
