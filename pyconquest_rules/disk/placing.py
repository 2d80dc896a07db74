"""Give complete files their names, durably, without replacing other files."""

import ctypes
import errno
import fcntl
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.file import File
from pyconquest_rules.disk.files import NO_LINKS
from pyconquest_rules.disk.folders import opened
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.disk.sources import Changed, read_from
from pyconquest_rules.headers.opening import Rejected, data_set_start

BLOCK = 1 << 20
SETTLED = 256
"""The number of folders that are remembered as durable."""

AT_FDCWD, RENAME_NOREPLACE = -100, 1  # linux/fcntl.h, linux/fs.h
# The errors of file systems that cannot rename without replacing, or cannot sync a folder.
CANNOT = NO_LINKS | {errno.EINVAL}


class Places:
    """Puts complete files below a root. Threads may share it. Call `close` at the end."""

    def __init__(self, root: Path) -> None:
        self.root, self.outputs = root, Outputs(root, ["."], [])
        self._settled = _Settled()

    def put(self, part: Path, path: str, *, replace: bool = False) -> tuple[bool, File]:
        """Give `part` the name `path`, durably. Return whether the same data set already had it, and the file.

        With `replace`, it replaces an existing file atomically. Raises UnsafePath, FileExistsError if another data set has the
        path, OSError.
        """
        folder, _, name = self.outputs.place(path).rpartition("/")
        with opened(self.outputs, folder, make=True) as descriptor:
            there = False
            if replace:
                os.rename(part, name, dst_dir_fd=descriptor)
            else:
                there = self._taken(part, name, descriptor, self.root / folder / name)
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            sync_folder(descriptor)
            if not self._settled.has(folder, descriptor):
                for above in list(self.outputs.folders(folder))[1:]:
                    with opened(self.outputs, above) as outer:
                        sync_folder(outer)
                self._settled.add(folder, descriptor)
        return there, File(os.fsencode(f"{folder}/{name}" if folder else name), *Stamp.of(status))

    def _taken(self, part: Path, name: str, folder: int, there: Path) -> bool:
        """Give `part` its name. Return True if the existing file has the same data set. Raises FileExistsError if another."""
        try:
            give_name(part, name, folder)
        except FileExistsError:
            if not same_data_set(part, there):
                raise
            sync_file(there)  # another program may have written it without a sync
            return True
        return False

    def remove(self, path: bytes) -> None:
        """Delete a file, durably, if it exists. Raises OSError."""
        folder, _, name = os.fsdecode(path).rpartition("/")
        with suppress(FileNotFoundError, NotADirectoryError), opened(self.outputs, folder) as descriptor:
            os.unlink(name, dir_fd=descriptor)
            sync_folder(descriptor)

    def close(self) -> None:
        """Close all folders."""
        self._settled.close()


def give_name(part: Path, name: str, folder: int) -> None:
    """Name a complete file, without replacing. Raises FileExistsError, OSError.

    It uses a hard link, or else a rename without replacing. If the file system has neither, an empty file of that name keeps
    other programs out, and a lock keeps other listeners out.
    """
    try:
        os.link(part, name, dst_dir_fd=folder, follow_symlinks=False)
        return
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    if _renamed(part, name, folder):
        return
    with _locked(part.parent):
        try:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=folder))
        except FileExistsError:
            if os.stat(name, dir_fd=folder, follow_symlinks=False).st_size:  # a killed run leaves an empty file
                raise
        os.rename(part, name, dst_dir_fd=folder)


def _renamed(part: Path, name: str, folder: int) -> bool:
    """Rename without replacing; False if the system or the file system cannot. Raises FileExistsError, OSError."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(part), folder, os.fsencode(name), RENAME_NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code in CANNOT:
        return False
    raise OSError(code, os.strerror(code))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "placing.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(descriptor: int) -> None:
    """Make the names in a folder durable, if the file system can (some network shares cannot). Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT:
            raise


def sync_file(file: Path) -> None:
    """Make a file and its name durable, whichever program wrote it. Raises OSError."""
    with file.open("rb") as opened_file:
        os.fsync(opened_file.fileno())
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_folder(folder)
    finally:
        os.close(folder)


def same_data_set(one: Path | bytes, other: Path | bytes) -> bool:
    """Return whether the data sets of two sources are identical. File meta information is ignored. Raises OSError."""
    try:
        with _opened(one) as left, _opened(other) as right:
            left.seek(data_set_start(left.fileno()))
            right.seek(data_set_start(right.fileno()))
            while (block := left.read(BLOCK)) == right.read(BLOCK):
                if not block:
                    return True
    except (Rejected, EOFError, ValueError, IsADirectoryError, Changed):
        return False
    return False


@contextmanager
def _opened(source: Path | bytes) -> Iterator[BinaryIO]:
    with read_from(os.fsencode(source)) as descriptor, open(descriptor, "rb", closefd=False) as file:
        yield file


class _Settled:
    """Folders that are durable, up to the root. They stay open, so that their inodes cannot be reused."""

    def __init__(self) -> None:
        self._descriptors: OrderedDict[str, int] = OrderedDict()
        self._lock = Lock()

    def has(self, folder: str, descriptor: int) -> bool:
        """Return whether an open folder is durable."""
        with self._lock:
            known = self._descriptors.get(folder)
            return known is not None and os.path.samestat(os.fstat(known), os.fstat(descriptor))

    def add(self, folder: str, descriptor: int) -> None:
        """Add an open folder. Beyond SETTLED, drop the oldest."""
        with self._lock:
            if (known := self._descriptors.pop(folder, None)) is not None:
                os.close(known)
            self._descriptors[folder] = os.dup(descriptor)
            if len(self._descriptors) > SETTLED:
                os.close(self._descriptors.popitem(last=False)[1])

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])
