"""Open the files that rules name: only regular files on a disk, and no link that leads out of the folder of the rules.

Rules may come from a stranger. A link in their folder may come with them, so it must stay in that folder. A path in the rules may
lead elsewhere, but the contents of its file are never shown.
"""

import os
import stat
import sys
from errno import EFBIG, EINVAL, ELOOP
from io import BufferedReader
from pathlib import Path

# The types that `statfs` returns for file systems of the kernel itself (linux/magic.h).
PSEUDO = frozenset(
    {
        *(0x9FA0, 0x9FA1, 0x62656572, 0x0027E0EB, 0x63677270),  # proc, openprom, sysfs, cgroup, cgroup2
        *(0x64626720, 0x74726163, 0x73636673, 0x62656570),  # debugfs, tracefs, securityfs, configfs
        *(0xCAFE4A11, 0x6165676C, 0xDE5E81E4, 0x42494E4D, 0x1CD1),  # bpf, pstore, efivarfs, binfmt_misc, devpts
        *(0xF97CFF8C, 0x43415D53, 0x5A3C69F0, 0x19800202, 0x6E736673),  # selinux, smack, apparmor, mqueue, nsfs
        *(0x65735543, 0x09041934, 0x50495045, 0x534F434B),  # fusectl, anonymous inodes, pipefs, sockfs
        *(0x67596969, 0x6E667364, 0xABBA1974, 0x7655821, 0x444D4142, 0x5345434D, 0x6C6F6F70),  # rpc_pipefs … binderfs
    }
)


def open_named(file: Path, folder: Path | None, most: int) -> BufferedReader:
    """Open a file of at most `most` bytes that rules in `folder` name. Without a folder, links are not checked.

    Raises OSError, with the reason in `strerror`: the file is a folder, device, FIFO or socket, lies in `/proc` or the like, is
    too large, or cannot be read; or a link leads out of the folder.
    """
    status = os.stat(file)
    if folder is not None:
        _check_links(file, folder)
    if not stat.S_ISREG(status.st_mode):  # before it is opened: opening a device can have effects
        raise OSError(EINVAL, "it is not a regular file")
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or _is_pseudo(descriptor):
            raise OSError(EINVAL, "it is not a regular file on a disk")
        if status.st_size > most:
            raise OSError(EFBIG, f"it is larger than {most} bytes")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_named(file: Path, folder: Path | None, most: int) -> bytes:
    """Read a file of at most `most` bytes. Raises OSError as `open_named` does."""
    with open_named(file, folder, most) as opened:
        data = opened.read(most + 1)
    if len(data) > most:  # it grew meanwhile
        raise OSError(EFBIG, f"it is larger than {most} bytes")
    return data


def real_named(file: Path, folder: Path | None, most: int) -> str:
    """Return the real path of a file, for a library that opens it itself. Raises OSError as `open_named` does."""
    with open_named(file, folder, most):
        return os.path.realpath(file)


def is_inside(file: Path, folder: Path) -> bool:
    """Return whether the real path of a file lies below a folder."""
    return Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder))


def _check_links(file: Path, folder: Path) -> None:
    """Raise OSError if a link in `folder` leads out of it on the path to the file."""
    for prefix in (*reversed(file.parents), file):
        if prefix.is_symlink() and is_inside(prefix.parent, folder) and not is_inside(prefix, folder):
            raise OSError(ELOOP, "a link leads out of the folder of the rules; name the file itself")


def _is_pseudo(descriptor: int) -> bool:
    """Return whether a file lies on a file system of the kernel itself, by its type: it can be mounted anywhere."""
    if sys.platform != "linux" or os.fstat(descriptor).st_dev == os.stat(__file__).st_dev:
        return False
    import ctypes  # 4 ms, which files on the file system of this program do not need

    # In every C library of Linux, the type is the first word of `struct statfs`, which has at most 120 bytes.
    buffer = (ctypes.c_ulong * 64)()
    if ctypes.CDLL(None, use_errno=True).fstatfs(descriptor, ctypes.byref(buffer)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer[0] & 0xFFFFFFFF in PSEUDO
