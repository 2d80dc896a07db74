"""Where received instances go: below a source, by its layout, and into the index; only then is a peer told that all is well."""

import errno
import fcntl
import os
import sqlite3
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Lock
from uuid import uuid4

from pyconquest_rules.dicom import Level, Value, tag_path
from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.execute.folders import INCOMING, opened
from pyconquest_rules.headers.header import Header, Reader, Rejected, Wanted
from pyconquest_rules.index.records import Record, records
from pyconquest_rules.index.store import Store
from pyconquest_rules.index.tables import LEVELS, Schema
from pyconquest_rules.index.walk import File
from pyconquest_rules.network.part10 import data_set_offset
from pyconquest_rules.network.statuses import Status
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.templates import RenderError, Template

SOP_CLASS = tag_path("SOPClassUID")
BLOCK = 1 << 20
# So many instances come into the index in one transaction, at the most.
TOGETHER = 64
# So many folders are remembered as durable, at the most.
SETTLED = 256


@dataclass(frozen=True, slots=True)
class Received:
    """An instance that came, is on disk and in the index."""

    SOPInstanceUID: str
    StudyInstanceUID: str


class Inbox:
    """Keeps instances in a source. Use as a context manager; threads of many associations may call it at once.

    `received` is told of every new instance once it is durable and in the index.

    An instance waits for the disk twice: its bytes are durable before it gets its name, so that no power loss leaves a name
    with half of them, and its name is durable before anybody is told. The row of the index is committed by then, but not
    waited for: a kill takes no row, and a loss of power at most the last ones, with which no file goes; the next `index` of
    the source finds these files. (SQLite's WAL with synchronous = NORMAL: https://sqlite.org/pragma.html#pragma_synchronous)
    """

    def __init__(
        self, source: str, root: Path, layout: Template, database: Path, schema: Schema, received: Callable[[Received], None]
    ) -> None:
        self.source, self.root, self.layout, self.received = source, root, layout, received
        self.outputs = Outputs(root, ["."], [])
        self.incoming = root / INCOMING
        self._indexer = _Indexer(source, root, database, schema)
        at = self._indexer.paths.index
        fields = (field for level in reversed(LEVELS) for field in schema.level(level))
        self._names = {field.name: at(field.tag) for field in fields if field.name in layout.names}
        self.class_at, self.study_at = at(SOP_CLASS), at(schema.level(Level.STUDY)[0].tag)
        self._settled = _Settled()
        self._under_way, self._ended = set[str](), Condition()

    def __enter__(self) -> "Inbox":
        while not self._takes_part():
            os.close(self._lock)
        self._indexer.start()
        return self

    def _takes_part(self) -> bool:
        """Makes the folder of what is on its way, and says there that somebody receives; False where it was just removed."""
        self.incoming.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.incoming, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with suppress(BlockingIOError):  # another listener receives into this source: what is there may be its own
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in self.incoming.glob("*.part"):
                left.unlink()
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        return self.incoming.exists() and os.path.samestat(os.fstat(self._lock), self.incoming.stat())

    def __exit__(self, *_: object) -> None:
        self._indexer.stop()
        self._settled.close()
        with suppress(OSError):  # where others still receive into this source, it is theirs
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.incoming.rmdir()
        os.close(self._lock)

    @contextmanager
    def part(self, sop_class: str, sop_instance: str, transfer_syntax: str, calling_ae_title: str) -> Iterator["_Part"]:
        """Opens a file for an instance; what is left of it at the end goes. Raises OSError."""
        part = _Part(self, self.incoming / f"{uuid4().hex}.part", sop_class, sop_instance, transfer_syntax)
        try:
            yield part
        finally:
            part.close()

    def free(self) -> int:
        """How many bytes of room there are."""
        room = os.statvfs(self.root)
        return room.f_bavail * room.f_frsize

    @contextmanager
    def alone(self, sop_instance: str) -> Iterator[None]:
        """Within it nobody else here places an instance: of two that come at the same moment the second sees the first."""
        with self._ended:
            self._ended.wait_for(lambda: sop_instance not in self._under_way)
            self._under_way.add(sop_instance)
        try:
            yield
        finally:
            with self._ended:
                self._under_way.discard(sop_instance)
                self._ended.notify_all()

    def place(self, part: Path, values: Sequence[Value], syntax: str) -> tuple[bool, File]:
        """Links a whole file to the path of the layout. Whether just its data set was there already; and the file there.

        Raises RenderError, UnsafePath, FileExistsError for another data set, OSError.
        """
        to = self.layout.path({name: values[at] for name, at in self._names.items()} | {"TransferSyntaxUID": syntax})
        folder, _, name = self.outputs.place(to.path).rpartition("/")
        with opened(self.outputs, folder, make=True) as descriptor:
            try:
                os.link(part, name, dst_dir_fd=descriptor, follow_symlinks=False)
                there = False
            except FileExistsError:
                there = _same_data_set(part, self.root / folder / name)
                if not there:
                    raise
                _sync(self.root / folder / name)  # whoever put it there
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            os.fsync(descriptor)
            if not self._settled.has(folder, descriptor):
                for above in list(self.outputs.folders(folder))[1:]:
                    with opened(self.outputs, above) as outer:
                        os.fsync(outer)
                self._settled.add(folder, descriptor)
        return there, File(os.fsencode(f"{folder}/{name}" if folder else name), status.st_size, status.st_mtime_ns)


class _Part:
    """An instance on its way."""

    def __init__(self, inbox: Inbox, path: Path, sop_class: str, sop_instance: str, syntax: str) -> None:
        self.inbox, self.path, self.duplicate = inbox, path, False
        self._sop_class, self._sop_instance, self._syntax = sop_class, sop_instance, syntax
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - Inbox.part closes it

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes. Raises OSError."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def finish(self) -> int:
        """Syncs, compares with what was asked for, links into its place without replacing, and indexes."""
        os.fsync(self._file.fileno())
        try:
            header = self.inbox._indexer.read(self.path)
        except Rejected:
            return Status.CANNOT_UNDERSTAND
        if header.values[self.inbox.class_at] != self._sop_class:
            return Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
        if header.SOPInstanceUID != self._sop_instance:
            return Status.CANNOT_UNDERSTAND
        with self.inbox.alone(self._sop_instance):
            return self._keep(header)

    def _keep(self, header: Header) -> int:
        if known := self.inbox._indexer.known(self._sop_instance):
            self.duplicate = _same_data_set(self.path, known)
            return Status.SUCCESS if self.duplicate else Status.DUPLICATE_SOP_INSTANCE
        try:
            self.duplicate, file = self.inbox.place(self.path, header.values, self._syntax)
        except FileExistsError:
            return Status.DUPLICATE_SOP_INSTANCE
        except (RenderError, UnsafePath):
            return Status.PROCESSING_FAILURE
        self.inbox._indexer.add(file, header)
        self.inbox.received(Received(self._sop_instance, str(header.values[self.inbox.study_at] or "")))
        return Status.SUCCESS

    def close(self) -> None:
        """Removes the name that it had on its way."""
        self._file.close()
        with suppress(OSError):
            self.path.unlink()


class _Settled:
    """Folders that are durable, with those that they lie in. They are kept open, so that none made anew passes for one."""

    def __init__(self) -> None:
        self._descriptors: OrderedDict[str, int] = OrderedDict()
        self._lock = Lock()

    def has(self, folder: str, descriptor: int) -> bool:
        """Whether the open folder is one of them."""
        with self._lock:
            known = self._descriptors.get(folder)
            return known is not None and os.path.samestat(os.fstat(known), os.fstat(descriptor))

    def add(self, folder: str, descriptor: int) -> None:
        """Adds an open folder; the one that was added first goes where there are too many."""
        with self._lock:
            if (known := self._descriptors.pop(folder, None)) is not None:
                os.close(known)
            self._descriptors[folder] = os.dup(descriptor)
            if len(self._descriptors) > SETTLED:
                os.close(self._descriptors.popitem(last=False)[1])

    def close(self) -> None:
        """Closes them all."""
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])


class _Indexer:
    """The index, which threads share. One writes in one transaction what all bring that wait meanwhile."""

    def __init__(self, source: str, root: Path, database: Path, schema: Schema) -> None:
        self.source, self.root, self.database, self.schema = source, root, database, schema
        self._records = records(schema)
        paths = self._records.wanted.paths
        self.paths = paths if SOP_CLASS in paths else (*paths, SOP_CLASS)
        self._reader = Reader(Wanted(self.paths))
        self._waiting: deque[_Row] = deque()
        self._reading, self._using = Lock(), Lock()

    def start(self) -> None:
        """Opens the index. Raises DatabaseError."""
        self._store = Store(self.database, self.schema)
        try:
            self._device = self._store.device(self.source, self.root)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Closes the index; whoever uses it is waited for."""
        with self._using:
            self._store.connection.close()

    def read(self, path: Path) -> Header:
        """The header of a file. Raises Rejected."""
        with self._reading:
            return self._reader.read(path)

    def known(self, sop_instance: str) -> Path | None:
        """Where an instance is. Raises OSError where the index cannot be asked."""
        try:
            with self._using:
                return self._store.place_of(sop_instance)
        except sqlite3.Error:
            raise OSError(errno.EIO, "the index cannot be read") from None

    def add(self, file: File, header: Header) -> None:
        """Comes back when an instance is in the index. Raises OSError where it cannot be."""
        row = _Row(file, self._records.record(header))
        self._waiting.append(row)
        with self._using:
            while row.written is None:
                self._write([self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))])
        if not row.written:
            raise OSError(errno.EIO, "the index cannot be written")

    def _write(self, rows: list["_Row"]) -> None:
        written = False
        try:
            with self._store.transaction():
                for row in rows:
                    self._store.forget(self._device, row.file.path)
                    self._store.add(self._device, self.root, row.file, row.record)
            written = True
        except (sqlite3.Error, DatabaseError):  # a busy moment of the index is told to those who waited
            pass
        finally:
            for row in rows:
                row.written = written


@dataclass(slots=True)
class _Row:
    """A file that is to come into the index, and whether it did; None while it waits."""

    file: File
    record: Record
    written: bool | None = None


def _sync(file: Path) -> None:
    with file.open("rb") as opened_file:
        os.fsync(opened_file.fileno())


def _same_data_set(one: Path, other: Path) -> bool:
    """Whether the data sets are the same bytes; who sent them, which the file meta information tells, does not count."""
    try:
        with one.open("rb") as left, other.open("rb") as right:
            left.seek(data_set_offset(left.fileno()))
            right.seek(data_set_offset(right.fileno()))
            while (block := left.read(BLOCK)) == right.read(BLOCK):
                if not block:
                    return True
    except (OSError, ValueError):
        return False
    return False
