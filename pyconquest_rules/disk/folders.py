"""The one door to the disk below `outputs`: folders are walked without following links."""

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
"""The folder, below a source, of what is being received."""

OLDER = ".pyconquest-rules-older"
"""The folder, below a source, of data sets that a listener replaced by newer ones."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened(outputs: Outputs, folder: str, *, make: bool = False, guard: Guard | None = None) -> Iterator[int]:
    """The descriptor of a folder that is named as destinations are. With `make`, what lacks is made; `Folders` makes it durable.

    Whoever changes what is in the folder gives a `guard`. Raises FileNotFoundError where there is none, NotADirectoryError or
    OSError (ELOOP) where a link or a file stands in the way, UnsafePath where the guard forbids the folder or one on the way.
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
    """Makes the root of an output where it is missing, and durable at once: `Folders` goes up to it, and no further."""
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
    with suppress(FileExistsError):  # another thread of this run was faster
        os.mkdir(name, dir_fd=descriptor)
    return os.open(name, FOLDER, dir_fd=descriptor)


def listing(outputs: Outputs, folder: str) -> Iterator[Entry]:
    """What a folder holds, links not followed; nothing where there is no folder. Raises UsageError where it cannot be listed."""
    try:
        with opened(outputs, folder) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                if (status := _status(entry)) is not None:
                    yield Entry(entry.name, _kind(status.st_mode), Stamp.of(status))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link, which the listing of its parent shows
            root, _ = outputs.locate(folder)
            raise UsageError(f"a folder below {root} cannot be listed: {os.strerror(error.errno or 0)}") from None


def entry(outputs: Outputs, destination: str) -> Entry | None:
    """What stands at a destination, links not followed; None where nothing does.

    Raises UnsafePath where it is not to be reached: it is no place that may be written to, or a folder of it is a link.
    """
    folder, _, name = outputs.place(destination).rpartition("/")
    try:
        with opened(outputs, folder) as descriptor:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise UnsafePath("a link or a file stands where a folder should be") from None
        raise UnsafePath(f"the folder cannot be looked at: {os.strerror(error.errno or 0)}") from None
    return Entry(name, _kind(status.st_mode), Stamp.of(status))


class Folders:
    """The folders of files that are put together: each is opened once, and synced once when all of them are there."""

    def __init__(
        self,
        outputs: Outputs,
        settled: set[str] | None = None,
        is_left: Callable[[str], bool] = lambda name: False,
        guard: Guard | None = None,
    ) -> None:
        """`is_left` knows by its name what a run that was killed left in a folder; it is removed.

        `settled`, which all of a run share, gets the folders that need neither to be swept nor made durable again; they share
        `guard` too.
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
        """That of the folder of a file, which stays open until the end. Makes and raises as `opened` does with a guard.

        Raises UnsafePath too if a file of that name there is the program's own.
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
        """Makes durable what was put into a folder and, whichever run or thread made them, the folders that lead to it.

        Raises OSError, to each who asks.
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
