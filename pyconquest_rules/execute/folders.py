"""The one door to the disk below `outputs`: folders are walked without following links."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from pyconquest_rules.errors import UsageError
from pyconquest_rules.facts import Entry, Kind
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.steps import Stamp

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened(outputs: Outputs, folder: str, *, make: bool = False) -> Iterator[int]:
    """The descriptor of a folder that is named as destinations are. With `make`, what lacks is made; `Folders` makes it durable.

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
    with suppress(FileExistsError):  # another thread of this run was faster
        os.mkdir(name, dir_fd=descriptor)
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


class Folders:
    """The folders of what is put together: each is opened once, and synced once when all of it is there."""

    def __init__(
        self, outputs: Outputs, settled: set[str] | None = None, is_left: Callable[[str], bool] = lambda name: False
    ) -> None:
        """`settled`, which all of a run share, gets the folders that are durable themselves and hold nothing that `is_left`.

        `is_left` knows by its name what a run that was killed left in a folder; it is removed.
        """
        self.outputs = outputs
        self.settled = set() if settled is None else settled
        self.is_left = is_left
        self.open = ExitStack()
        self.descriptors: dict[str, int] = {}
        self.synced: dict[str, OSError | None] = {}

    def __enter__(self) -> "Folders":
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def descriptor(self, folder: str, *, make: bool = False) -> int:
        """That of a folder, as `opened` gives it."""
        if folder not in self.descriptors:
            descriptor = self.open.enter_context(opened(self.outputs, folder, make=make))
            if folder not in self.settled:
                sweep(descriptor, self.is_left)
            self.descriptors[folder] = descriptor
        return self.descriptors[folder]

    def sync(self, folder: str) -> None:
        """Makes what was put into an open folder durable, and the folder itself. Raises OSError to each who asks."""
        if folder not in self.synced:
            try:
                self._sync(folder)
                self.synced[folder] = None
            except OSError as error:
                self.synced[folder] = error
        if (failed := self.synced[folder]) is not None:
            raise failed

    def _sync(self, folder: str) -> None:
        os.fsync(self.descriptors[folder])
        if folder not in self.settled:
            for above in self.outputs.folders(folder):  # whoever made them, they may not be durable yet
                with opened(self.outputs, above) as descriptor:
                    os.fsync(descriptor)
            self.settled.add(folder)


def sweep(folder: int, is_left: Callable[[str], bool]) -> None:
    """Removes what a run that was killed left in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:  # what cannot be swept troubles nobody
        for entry in entries:
            if is_left(entry.name):
                os.unlink(entry.name, dir_fd=folder)


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
