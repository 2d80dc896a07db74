"""A disk that does not tell capital letters from small ones, as a memory stick has it: a pass-through of FUSE.

`python -m tests.caseless FOLDER MOUNT` shows a folder in this way until it is unmounted. There are no links. Inodes are those of
libfuse, which knows a file by its name: two spellings of one name are two inodes.
"""

import errno
import os
import sys
from typing import Any

from mfusepy import FUSE, FuseOSError, Operations

STATUS = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_atime", "st_mtime", "st_ctime")
ROOM = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_flag", "f_frsize", "f_namemax")


class Caseless(Operations):
    """What FUSE asks for; paths begin with "/". Each method does what the system call of its name does."""

    def __init__(self, root: str) -> None:
        self.root = root

    def __call__(self, op: str, *given: Any) -> Any:
        try:
            return super().__call__(op, *given)
        except FuseOSError:
            raise
        except OSError as error:
            raise FuseOSError(error.errno or errno.EIO) from error

    def spelled(self, path: str) -> str:
        found = self.root
        for name in path.strip("/").split("/") if path != "/" else ():
            listed = os.listdir(found) if os.path.isdir(found) else []
            found = os.path.join(found, next((each for each in listed if each.casefold() == name.casefold()), name))
        return found

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        status = os.lstat(self.spelled(path))
        return {name: getattr(status, name) for name in STATUS}

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

    def link(self, target: str, source: str) -> None:
        raise FuseOSError(errno.EPERM)

    def symlink(self, target: str, source: str) -> None:
        raise FuseOSError(errno.EPERM)

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
        seconds = [each / 1e9 if each > 1e12 else each for each in times] if times else None
        os.utime(self.spelled(path), None if seconds is None else (int(seconds[0]), int(seconds[1])))

    def chmod(self, path: str, mode: int) -> None:
        """Kept out: such a disk has no permissions."""

    def statfs(self, path: str) -> dict[str, int]:
        room = os.statvfs(self.root)
        return {name: getattr(room, name) for name in ROOM}


if __name__ == "__main__":
    FUSE(Caseless(sys.argv[1]), sys.argv[2], foreground=True, nothreads=True)
