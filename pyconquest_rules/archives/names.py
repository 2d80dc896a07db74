"""The names of members: `study.zip//series/1.dcm` is the member `series/1.dcm` of the file `study.zip`.

No path of a file has two slashes in a row, so the separator is unambiguous, and a program that takes such a name for a path
finds nothing: a file has no files below it. A member without a usable name of its own has the number of its place in the
archive instead: `study.zip///17`.
"""

import re

SEPARATOR = b"//"
ENDINGS = (b".zip", b".tar", b".tar.gz", b".tgz")
LONGEST = 1024
"""The limit on the name of a member, in bytes."""

DEEPEST = 2
"""An archive may lie in another one, but no third one in that."""

DRIVE = re.compile(rb"[A-Za-z]:")


def is_archive(name: bytes) -> bool:
    """Return whether a name is that of an archive whose members are indexed."""
    return name.lower().endswith(ENDINGS)


def is_member(path: bytes) -> bool:
    """Return whether a path leads to a member of an archive."""
    return SEPARATOR in path


def divided(path: bytes) -> tuple[bytes, list[bytes]]:
    """Return the path of the file that has a member, and the names of the members from there on."""
    file, *names = path.split(SEPARATOR)
    return file, names


def below(path: bytes, name: bytes) -> bytes:
    """Return the path of a member of the archive at `path`."""
    return path + SEPARATOR + name


def by_number(path: bytes, number: int) -> bytes:
    """Return the path of a member without a usable name."""
    return path + SEPARATOR + b"/%d" % number


def is_safe(name: bytes) -> bool:
    """Return whether a member may have a name: it is relative, and leads nowhere but down."""
    if not 0 < len(name) <= LONGEST or b"\0" in name or DRIVE.match(name):
        return False
    parts = name.replace(b"\\", b"/").split(b"/")
    return not any(part in (b"", b".", b"..") for part in parts)
