"""Where received instances go: below a source, by its layout, and into the index; only then is a peer told that all is well."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from uuid import uuid4

from pyconquest_rules.dicom import Level, TagPath, tag_path
from pyconquest_rules.execute.folders import INCOMING, opened
from pyconquest_rules.index.header import Header, Reader, Rejected, Wanted
from pyconquest_rules.index.store import Store
from pyconquest_rules.index.tables import LEVELS, Schema
from pyconquest_rules.index.walk import File
from pyconquest_rules.network.part10 import data_set_offset
from pyconquest_rules.network.storage_scp import Status
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.templates import RenderError, Template

SOP_CLASS = tag_path("SOPClassUID")
BLOCK = 1 << 20
# So many instances come into the index in one transaction, at the most.
TOGETHER = 64


@dataclass(frozen=True, slots=True)
class Received:
    """An instance that came, is on disk and in the index."""

    SOPInstanceUID: str
    StudyInstanceUID: str


class Inbox:
    """Keeps instances in a source. Use as a context manager; threads of many associations may call it at once.

    `received` is told of every new instance once it is durable and in the index.
    """

    def __init__(
        self, source: str, root: Path, layout: Template, database: Path, schema: Schema, received: Callable[[Received], None]
    ) -> None:
        self.source, self.root, self.layout, self.received = source, root, layout, received
        self.outputs = Outputs(root, ["."], [])
        self.incoming = root / INCOMING
        self._names = {field.name: field.tag for level in reversed(LEVELS) for field in schema.level(level)}
        self._study = schema.level(Level.STUDY)[0].tag
        self._indexer = _Indexer(source, root, database, schema)

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

    def place(self, part: Path, values: Mapping[TagPath, object], syntax: str) -> tuple[bool, File]:
        """Links a whole file to the path of the layout. Whether just its data set was there already; and the file there.

        Raises RenderError, UnsafePath, FileExistsError for another data set, OSError.
        """
        named = {name: values[tag] for name, tag in self._names.items()} | {"TransferSyntaxUID": syntax}
        to = self.layout.path(named)
        folder, _, name = self.outputs.place(to.path).rpartition("/")
        with opened(self.outputs, folder, make=True) as descriptor:
            try:
                os.link(part, name, dst_dir_fd=descriptor, follow_symlinks=False)
                there = False
            except FileExistsError:
                there = _same_data_set(part, self.root / folder / name)
                if not there:
                    raise
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        for each in self.outputs.folders(folder):  # the folder itself too
            with opened(self.outputs, each) as descriptor:
                os.fsync(descriptor)
        return there, File(os.fsencode(f"{folder}/{name}" if folder else name), status.st_size, status.st_mtime_ns)


class _Part:
    """An instance on its way."""

    def __init__(self, inbox: Inbox, path: Path, sop_class: str, sop_instance: str, syntax: str) -> None:
        self.inbox, self.path, self.duplicate = inbox, path, False
        self._asked = sop_class, sop_instance
        self._syntax = syntax
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - Inbox.part closes it

    def write(self, data: bytes | bytearray) -> None:
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
        values = dict(zip(self.inbox._indexer.paths, header.values, strict=True))
        sop_class, sop_instance = self._asked
        if values[SOP_CLASS] != sop_class:
            return Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
        if header.SOPInstanceUID != sop_instance:
            return Status.CANNOT_UNDERSTAND
        if known := self.inbox._indexer.known(sop_instance):
            self.duplicate = _same_data_set(self.path, known)
            return Status.SUCCESS if self.duplicate else Status.DUPLICATE_SOP_INSTANCE
        try:
            self.duplicate, file = self.inbox.place(self.path, values, self._syntax)
        except FileExistsError:
            return Status.DUPLICATE_SOP_INSTANCE
        except (RenderError, UnsafePath):
            return Status.PROCESSING_FAILURE
        self.inbox._indexer.add(file, header)
        self.inbox.received(Received(sop_instance, str(values[self.inbox._study] or "")))
        return Status.SUCCESS

    def close(self) -> None:
        """Removes the name that it had on its way."""
        self._file.close()
        with suppress(OSError):
            self.path.unlink()


class _Indexer:
    """The one thread that writes the index: what came meanwhile goes into one transaction."""

    def __init__(self, source: str, root: Path, database: Path, schema: Schema) -> None:
        self.source, self.root, self.database, self.schema = source, root, database, schema
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="index")
        self._failed: BaseException | None = None
        self._started = Event()
        self._reading = Lock()

    def start(self) -> None:
        """Opens the index. Raises DatabaseError."""
        self._thread.start()
        self._started.wait()
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """Ends once all is written."""
        self._waiting.put(None)
        self._thread.join()

    def read(self, path: Path) -> Header:
        """The header of a file. Raises Rejected."""
        with self._reading:
            return self._reader.read(path)

    def known(self, sop_instance: str) -> Path | None:
        """Where the index has an instance. Raises OSError where the index cannot be asked."""
        return self._do(_Job(sop_instance=sop_instance)).found

    def add(self, file: File, header: Header) -> None:
        """Comes back when an instance is in the index. Raises OSError where it cannot be."""
        self._do(_Job(file=file, header=header))

    def _do(self, job: "_Job") -> "_Job":
        self._waiting.put(job)
        job.done.wait()
        if job.error is not None:
            raise OSError(errno.EIO, "the index cannot be written")
        return job

    def _run(self) -> None:
        try:
            with Store(self.database, self.schema) as store:
                self.paths = (*store.wanted.paths, *(() if SOP_CLASS in store.wanted.paths else (SOP_CLASS,)))
                self._reader, self._count = Reader(Wanted(self.paths)), len(store.wanted.paths)
                self._device = store.device(self.source, self.root)
                self._started.set()
                going_on = True
                while going_on:
                    taken = [self._waiting.get()]
                    while not self._waiting.empty() and len(taken) < TOGETHER:
                        taken.append(self._waiting.get())
                    going_on = None not in taken
                    self._write(store, [job for job in taken if job is not None])
        except BaseException as error:  # noqa: BLE001 - whoever waits must be told
            self._failed = error
            self._started.set()
            while (job := self._waiting.get()) is not None:
                job.end(error)

    def _write(self, store: Store, jobs: list["_Job"]) -> None:
        try:
            with store.transaction():
                for job in jobs:
                    if job.file is not None and job.header is not None:
                        header = job.header._replace(values=job.header.values[: self._count])
                        store.forget(self._device, job.file.path)
                        store.add(self._device, self.root, job.file, header)
                    else:
                        job.found = store.place_of(job.sop_instance)
        except Exception as error:  # noqa: BLE001 - one busy moment of the index is told to those who waited
            for job in jobs:
                job.end(error)
            return
        for job in jobs:
            job.end(None)


class _Job:
    """Something for the index to do: to add a file, or to say where an instance is."""

    def __init__(self, *, file: File | None = None, header: Header | None = None, sop_instance: str = "") -> None:
        self.file, self.header, self.sop_instance = file, header, sop_instance
        self.found: Path | None = None
        self.error: BaseException | None = None
        self.done = Event()

    def end(self, error: BaseException | None) -> None:
        self.error = error
        self.done.set()


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
