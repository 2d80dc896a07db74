"""Irregular disks by FUSE. They show a folder until they are unmounted: `python -m tests.disks caseless|failing FOLDER MOUNT`."""

import errno
import os
import sys
from functools import wraps
from typing import Any

from mfusepy import FUSE, FuseOSError, Operations

STATUS = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid")
TIMES = ("st_atime", "st_mtime", "st_ctime")
ROOM = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_flag", "f_frsize", "f_namemax")


OPERATIONS = ("getattr", "open", "opendir", "read", "readdir", "readlink")


class Disk(Operations):  # type: ignore[misc]
    """The operations of FUSE. Each method does what the system call of its name does; paths begin with "/"."""

    use_ns = True  # times are in nanoseconds

    def __init__(self, root: str) -> None:
        self.root = root

    def spelled(self, path: str) -> str:
        """Return the real path of a file."""
        return self.root + path

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        status = os.lstat(self.spelled(path))
        times = {name: getattr(status, f"{name}_ns") for name in TIMES}
        return {name: getattr(status, name) for name in STATUS} | times

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self.spelled(path))]

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self.spelled(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self.spelled(path))

    def unlink(self, path: str) -> None:
        os.unlink(self.spelled(path))

    def rename(self, old: str, new: str, *_: Any) -> None:
        os.rename(self.spelled(old), self.spelled(new))

    def readlink(self, path: str) -> str:
        return os.readlink(self.spelled(path))

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return os.open(self.spelled(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(self.spelled(path), flags & (os.O_ACCMODE | os.O_TRUNC | os.O_APPEND))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(self.spelled(path), length)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    def utimens(self, path: str, times: Any = None) -> None:
        os.utime(self.spelled(path), ns=times and (int(times[0]), int(times[1])))

    def chmod(self, path: str, mode: int) -> None:
        """Ignore permissions, which such a disk does not have."""

    def statfs(self, path: str) -> dict[str, int]:
        room = os.statvfs(self.root)
        return {name: getattr(room, name) for name in ROOM}


class Caseless(Disk):
    """Ignores case and has no links, like a memory stick.

    libfuse makes the inodes from names, so two spellings of one name have two inodes.
    """

    def spelled(self, path: str) -> str:
        found = self.root
        for name in path.strip("/").split("/") if path != "/" else ():
            listed = os.listdir(found) if os.path.isdir(found) else []
            found = os.path.join(found, next((each for each in listed if each.casefold() == name.casefold()), name))
        return found

    def link(self, target: str, source: str) -> None:
        raise FuseOSError(errno.EPERM)

    def symlink(self, target: str, source: str) -> None:
        raise FuseOSError(errno.EPERM)


class Failing(Disk):
    """Fails as described in the file FOLDER.faults: each line has an operation, an error, and a path."""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not callable(found) or name not in OPERATIONS:
            return found

        @wraps(found)
        def do(path: str, *given: Any) -> Any:
            with open(f"{self.root}.faults", encoding="utf-8") as faults:
                for line in faults:
                    operation, error, where = line.rstrip("\n").split(" ", 2)
                    if (operation, where) == (name, path):
                        raise FuseOSError(getattr(errno, error))
            return found(path, *given)

        return do


if __name__ == "__main__":
    disk = {"caseless": Caseless, "failing": Failing}[sys.argv[1]]
    FUSE(disk(sys.argv[2]), sys.argv[3], foreground=True, nothreads=True, attr_timeout=0, entry_timeout=0)
