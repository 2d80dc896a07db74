"""The run lock of a rules file: a lock of the operating system, which a killed process no longer holds."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pyconquest_rules.disk.filesystems import Sharing, sharing
from pyconquest_rules.disk.state_folder import FOLDER, made
from pyconquest_rules.errors import DatabaseError, Locked

_held: set[int] = set()


def _let_go() -> None:
    """Close the lock in a forked process: it must not keep the lock when the run is killed."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(base: Path) -> Iterator[None]:
    """Hold the run lock of a rules file.

    Raises Locked if another run holds it, DatabaseError if the folder cannot be written.
    """
    file = made(base) / "lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise Locked("another run of this rules file is going on; wait for it to end") from None
        raise DatabaseError(
            f"cannot lock {base / FOLDER}: {os.strerror(error.errno or 0)}; mount the file system with locks, or move the rules"
        ) from None
    _held.add(descriptor)
    try:
        with _machine_named(descriptor, file) if sharing(file.parent) is Sharing.UNLOCKED else nullcontext():
            yield
    finally:
        _held.remove(descriptor)
        os.close(descriptor)


@contextmanager
def _machine_named(descriptor: int, file: Path) -> Iterator[None]:
    """Write into the lock file which machine holds it: other machines do not see its lock.

    Raises Locked if another machine holds it, or did when its run was killed.
    """
    machine, holder = os.fsencode(socket.gethostname()), os.pread(descriptor, 256, 0)
    if holder not in (b"", machine):
        raise Locked(
            f"a run on the machine {holder.decode(errors='replace')!a} is going on, or was killed;"
            f" once none is going on there, remove {file}"
        )
    os.pwrite(descriptor, machine, 0)
    os.fsync(descriptor)
    try:
        yield
    finally:
        os.ftruncate(descriptor, 0)
