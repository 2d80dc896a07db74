"""Find the type of the file system of a folder, and whether SQLite can use locks and shared memory there.

SQLite's WAL mode needs shared memory, and locks that all processes see (https://sqlite.org/wal.html, section 1). Two machines
that share a folder have neither. Linux lists the types in `/proc/self/mountinfo`; on other systems every folder counts as local.
"""

import os
from enum import StrEnum
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

# The server sees the locks of every machine: by the protocol (NFSv4, SMB) or by lockd (NFSv3).
LOCKED_TOGETHER = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "gpfs", "beegfs", "pvfs2", "ocfs2", "gfs", "gfs2"}
    | {"fuse.glusterfs", "fuse.ceph"}
)
# Folders of another machine, or of the host of a virtual machine. Their locks work on this machine only.
LOCKED_ALONE = frozenset(
    {"9p", "vboxsf", "virtiofs", "vmhgfs", "prl_fs", "drvfs", "fakeowner", "osxfs", "grpcfuse", "afs", "coda", "ncpfs"}
)


class Sharing(StrEnum):
    """Which processes can have the files of a folder open."""

    LOCAL = "local"
    """Processes of this machine: WAL works."""
    LOCKED = "locked"
    """Processes of several machines, which see each other's locks."""
    UNLOCKED = "unlocked"
    """Processes of several machines, which may not see each other's locks."""


def sharing(folder: Path) -> Sharing:
    """Return which processes can have the files of a folder open, by the type of its file system."""
    kind = kind_of(folder)
    if kind in LOCKED_TOGETHER:
        return Sharing.LOCKED
    # Most FUSE file systems are remote: sshfs, rclone, davfs2, s3fs, vmhgfs-fuse. `fuseblk` is a local disk, as of ntfs-3g.
    is_fuse = kind == "fuse" or kind.startswith("fuse.")
    return Sharing.UNLOCKED if is_fuse or kind in LOCKED_ALONE else Sharing.LOCAL


def kind_of(folder: Path) -> str:
    """Return the type of the file system of a folder, for example "ext4", "nfs4" or "fuse.sshfs"; "" if unknown."""
    try:
        lines = MOUNTS.read_bytes().splitlines()
    except OSError:
        return ""
    here, found, longest = os.fsencode(os.path.realpath(folder)), b"", -1
    for line in lines:  # id parent major:minor root mount-point options [fields …] - type source options (proc(5))
        left, _, right = line.partition(b" - ")
        fields, kind = left.split(b" "), right.partition(b" ")[0]
        if len(fields) < 5 or not kind:
            continue
        point = _unescaped(fields[4]).rstrip(b"/")
        # Of several mounts at the same point, the last one counts.
        if (here == point or here.startswith(point + b"/")) and len(point) >= longest:
            found, longest = kind, len(point)
    return found.decode("ascii", "replace")


def _unescaped(point: bytes) -> bytes:
    """Replace the octal escapes of space, tab, line end and backslash in a mount point."""
    for code in (b" ", b"\t", b"\n", b"\\"):
        point = point.replace(b"\\%03o" % code[0], code)
    return point
