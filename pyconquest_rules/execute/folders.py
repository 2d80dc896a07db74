"""The one door to the disk below `outputs`: folders are walked without following links."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pyconquest_rules.errors import UsageError
from pyconquest_rules.facts import Entry, Kind
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.steps import Stamp

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened(outputs: Outputs, folder: str, *, make: bool = False) -> Iterator[int]:
    """The descriptor of a folder that is named as destinations are. With `make`, what lacks is made, durably.

    Raises FileNotFoundError where there is none, NotADirectoryError or OSError (ELOOP) where a link or a file stands in the way.
    """
    root, below = outputs.locate(folder)
    if make:
        os.makedirs(root, exist_ok=True)
    descriptor = os.open(root, FOLDER & ~os.O_NOFOLLOW)
    try:
        for name in below:
            inner = _inner(descriptor, name, make)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _inner(descriptor: int, name: str, make: bool) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=descriptor)
    except FileNotFoundError:
        if not make:
            raise
    try:
        os.mkdir(name, dir_fd=descriptor)
        os.fsync(descriptor)
    except FileExistsError:
        pass  # another thread of this run was faster
    return os.open(name, FOLDER, dir_fd=descriptor)


def listing(outputs: Outputs, folder: str) -> Iterator[Entry]:
    """What a folder holds, links not followed; nothing where there is no folder. Raises UsageError where it cannot be listed."""
    try:
        with opened(outputs, folder) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                if (status := _status(entry)) is not None:
                    yield Entry(entry.name, _kind(status.st_mode), Stamp(status.st_size, status.st_mtime_ns))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link, which the listing of its parent shows
            root, _ = outputs.locate(folder)
            raise UsageError(f"a folder below {root} cannot be listed: {os.strerror(error.errno or 0)}") from None


def sweep(outputs: Outputs, folder: str, prefix: str) -> None:
    """Removes the files of a folder whose names begin with `prefix`: what a run that was killed left there."""
    # What cannot be swept troubles nobody: a step that needs the folder says what is wrong with it.
    with suppress(OSError), opened(outputs, folder) as descriptor, os.scandir(descriptor) as entries:
        for entry in entries:
            if entry.name.startswith(prefix):
                os.unlink(entry.name, dir_fd=descriptor)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # gone since it was listed


def _kind(mode: int) -> Kind:
    match stat.S_IFMT(mode):
        case stat.S_IFREG:
            return Kind.FILE
        case stat.S_IFDIR:
            return Kind.FOLDER
        case stat.S_IFLNK:
            return Kind.LINK
        case _:
            return Kind.OTHER
