"""Bringing one file to its destination: whole, durable and without ever replacing what the plan has not seen."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256

from pyconquest_rules.execute.folders import opened
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.steps import Mode, PutFile, Stamp

BLOCK = 1 << 20
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
    """Does one operation. `part` is the name of the temporary file in the destination's folder.

    Order: write `part` while hashing, fsync, link or rename without replacing, fsync the folder. The source of a move stays
    until `take_away`. Raises StepError.
    """
    folder, _, name = operation.destination.rpartition("/")
    try:
        _same_source(operation, os.stat(operation.source))
        with opened(outputs, folder, make=not operation.adopt) as descriptor:
            digest = _adopted(operation, descriptor, name) if operation.adopt else _placed(operation, descriptor, name, part)
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except OSError as error:
        raise StepError(_explained(error, operation)) from None
    return Put(digest, Stamp(status.st_size, status.st_mtime_ns))


def take_away(operation: PutFile, outputs: Outputs) -> None:
    """The end of a move, once the ledger knows where the bytes are: removes the source. Raises StepError."""
    folder, _, name = operation.destination.rpartition("/")
    try:
        status = os.stat(operation.source)
        _same_source(operation, status)
        with opened(outputs, folder) as descriptor:
            if os.path.samestat(status, os.stat(name, dir_fd=descriptor)):
                raise StepError("source and destination are one file, which stays")
            os.unlink(operation.source)
    except OSError as error:
        raise StepError(_explained(error, operation)) from None


def _placed(operation: PutFile, folder: int, name: str, part: str) -> str:
    try:
        digest = MAKERS[operation.mode](operation, folder, part)
        _take_place(operation.there, folder, name, part)
    except BaseException:
        with suppress(OSError):
            os.unlink(part, dir_fd=folder)
        raise
    os.fsync(folder)
    if operation.mode is Mode.MOVE and hash_of(name, folder) != digest:
        raise StepError("the destination does not hold the bytes of the source, which stays")
    return digest


def _adopted(operation: PutFile, folder: int, name: str) -> str:
    """Nothing is written; what stands there must still be what the plan compared."""
    digest = hash_of(operation.source)
    same = operation.mode is Mode.SYMLINK or hash_of(name, folder) == digest
    if not same or _stamp(folder, name) != operation.there:
        raise StepError("the destination changed since it was planned")
    return digest


def _write(operation: PutFile, folder: int, part: str) -> str:
    """A copy with the mtime of its source."""
    with open(operation.source, "rb", buffering=0) as source, _new(folder, part) as target:
        digest = sha256()
        while block := source.read(BLOCK):
            digest.update(block)
            _write_all(target, block)
        _same_source(operation, os.fstat(source.fileno()))
        _finish(operation, target)
    return digest.hexdigest()


def _clone(operation: PutFile, folder: int, part: str) -> str:
    """A copy that shares its blocks with the source, where the file system can."""
    with open(operation.source, "rb", buffering=0) as source, _new(folder, part) as target:
        fcntl.ioctl(target, FICLONE, source.fileno())
        _finish(operation, target)
    return hash_of(part, folder)


def _hardlink(operation: PutFile, folder: int, part: str) -> str:
    os.link(operation.source, part, dst_dir_fd=folder)
    return hash_of(part, folder)


def _symlink(operation: PutFile, folder: int, part: str) -> str:
    os.symlink(operation.source, part, dir_fd=folder)
    return hash_of(operation.source)


MAKERS: dict[Mode, Callable[[PutFile, int, str], str]] = {
    Mode.COPY: _write,
    Mode.MOVE: _write,
    Mode.REFLINK: _clone,
    Mode.HARDLINK: _hardlink,
    Mode.SYMLINK: _symlink,
}


@contextmanager
def _new(folder: int, part: str) -> Iterator[int]:
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _finish(operation: PutFile, target: int) -> None:
    os.utime(target, ns=(operation.stamp.mtime_ns, operation.stamp.mtime_ns))
    os.fsync(target)


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


def _write_all(target: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(target, view) :]


def hash_of(path: str | bytes, folder: int | None = None) -> str:
    """SHA-256 in hexadecimal of a file, named from the folder with descriptor `folder`. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    digest = sha256()
    with open(descriptor, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
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
