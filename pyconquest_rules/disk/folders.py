"""Open folders below `outputs` without following links. All writes to outputs go through this module."""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager, suppress

from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.facts import Entry, Kind
from pyconquest_rules.disk.outputs import IS_OWN, Guard, Outputs
from pyconquest_rules.errors import UsageError
from pyconquest_rules.paths import UnsafePath

INCOMING = ".pyconquest-rules-incoming"
"""The folder below a source for instances that are being received."""

OLDER = ".pyconquest-rules-older"
"""The folder below a source for data sets that a listener replaced by newer ones."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened(outputs: Outputs, folder: str, *, make: bool = False, guard: Guard | None = None) -> Iterator[int]:
    """Open a folder, named as destinations are. With `make`, create missing folders; `Folders` makes them durable.

    A caller that changes the folder passes a `guard`. Raises FileNotFoundError if a folder is missing, NotADirectoryError or
    OSError (ELOOP) if a folder is a file or a link, UnsafePath if the guard forbids a folder.
    """
    root, below = outputs.locate(folder)
    if guard:
        guard.check_path(root)
    if make:
        _make_root(root)
    descriptor = os.open(root, FOLDER & ~os.O_NOFOLLOW)
    try:
        for name in below:
            if guard:
                guard.check_inode(descriptor)
            inner = _inner(descriptor, name, make, guard)
            os.close(descriptor)
            descriptor = inner
        if guard:
            guard.check(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _make_root(root: str) -> None:
    """Create the root of an output, durably, if it is missing. `Folders` syncs only the folders below it."""
    lacking, folder = list[str](), root
    while not os.path.isdir(folder):
        lacking.append(folder)
        folder = os.path.dirname(folder)
    if lacking:
        os.makedirs(root, exist_ok=True)
    for folder in map(os.path.dirname, reversed(lacking)):
        descriptor = os.open(folder, FOLDER & ~os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _inner(descriptor: int, name: str, make: bool, guard: Guard | None) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=descriptor)
    except FileNotFoundError:
        if not make:
            raise
    if guard:
        guard.check(descriptor)
    with suppress(FileExistsError):  # another thread created it first
        os.mkdir(name, dir_fd=descriptor)
    return os.open(name, FOLDER, dir_fd=descriptor)


def listing(outputs: Outputs, folder: str) -> Iterator[Entry]:
    """Yield the entries of a folder, without following links; none if there is no folder. Raises UsageError on other errors."""
    try:
        with opened(outputs, folder) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                if (status := _status(entry)) is not None:
                    yield Entry(entry.name, _kind(status.st_mode), Stamp.of(status))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link: the listing of its parent shows it
            root, _ = outputs.locate(folder)
            raise UsageError(f"a folder below {root} cannot be listed: {os.strerror(error.errno or 0)}") from None


def entry(outputs: Outputs, destination: str) -> Entry | None:
    """Return the existing entry at a destination, without following links, or None.

    Raises UnsafePath if the destination is not allowed, or one of its folders is a link.
    """
    folder, _, name = outputs.place(destination).rpartition("/")
    try:
        with opened(outputs, folder) as descriptor:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise UnsafePath("a folder of it is a link or a file") from None
        raise UnsafePath(f"the folder cannot be read: {os.strerror(error.errno or 0)}") from None
    return Entry(name, _kind(status.st_mode), Stamp.of(status))


class Folders:
    """The folders of a batch of files: each is opened once, and synced once after all its files are written."""

    def __init__(
        self,
        outputs: Outputs,
        settled: set[str] | None = None,
        is_left: Callable[[str], bool] = lambda name: False,
        guard: Guard | None = None,
    ) -> None:
        """`is_left` returns whether a file name is one that a killed run left behind; such files are deleted.

        `settled` collects the folders that are swept and durable. All batches of a run share it, and `guard`.
        """
        self.outputs, self.guard = outputs, guard or outputs.guard()
        self.settled = set() if settled is None else settled
        self.is_left = is_left
        self.descriptors: dict[str, int] = {}
        self.taken: dict[str, Set[str]] = {}
        self.synced: dict[str, OSError | None] = {}
        self.stack = ExitStack()

    def __enter__(self) -> "Folders":
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def descriptor(self, folder: str, name: str, *, make: bool) -> int:
        """Return the descriptor of the folder of a file. It stays open until the end.

        Creates and raises as `opened` does with a guard. Raises UnsafePath too if `name` is a file of this program.
        """
        if folder not in self.descriptors:
            self.descriptors[folder] = self.stack.enter_context(opened(self.outputs, folder, make=make, guard=self.guard))
            self.taken[folder] = self.guard.taken(self.descriptors[folder])
            if folder not in self.settled:
                _sweep(self.descriptors[folder], self.is_left)
        if self.taken[folder] and name.casefold() in self.taken[folder]:
            raise UnsafePath(IS_OWN)
        return self.descriptors[folder]

    def sync(self, folder: str) -> None:
        """Sync a folder and the folders that it lies in, whichever run or thread created them.

        Raises OSError, again for each caller.
        """
        for each in (folder,) if folder in self.settled else self.outputs.folders(folder):
            if each not in self.synced:
                self.synced[each] = self._failed_to_sync(each)
            if (error := self.synced[each]) is not None:
                raise error
        self.settled.add(folder)

    def _failed_to_sync(self, folder: str) -> OSError | None:
        try:
            if folder in self.descriptors:
                os.fsync(self.descriptors[folder])
            else:
                with opened(self.outputs, folder) as descriptor:
                    os.fsync(descriptor)
        except OSError as error:
            return error
        return None


def _sweep(folder: int, is_left: Callable[[str], bool]) -> None:
    with suppress(OSError), os.scandir(folder) as entries:  # a file that cannot be deleted does no harm
        for entry in entries:
            if is_left(entry.name):
                os.unlink(entry.name, dir_fd=folder)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # deleted after it was listed


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
