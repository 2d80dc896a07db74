"""Where received instances go: below a source, by its layout, and into the index; only then is a peer told that all is well."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Lock
from uuid import uuid4

from pyconquest_rules.dicom import Level, Value
from pyconquest_rules.disk.folders import INCOMING
from pyconquest_rules.disk.placing import Places, sync_file
from pyconquest_rules.headers.opening import Rejected
from pyconquest_rules.index.store.order import NO_ORDER, Order
from pyconquest_rules.index.store.schema import LEVELS, Schema
from pyconquest_rules.intake.arrival import Part, Received
from pyconquest_rules.intake.indexer import SOP_CLASS, Indexer
from pyconquest_rules.network.statuses import Status
from pyconquest_rules.templates import Template

__all__ = ["Inbox", "Received"]

CLASS_INSTANCE_CONFLICT = 0x0119


class Inbox:
    """Keeps instances in a source. Use as a context manager; threads of many associations may call it at once.

    `received` is called for every new instance once it is durable and in the index. Another data set of an instance that is there
    is refused; with `newest` it takes the place of the one before, which is kept in OLDER.

    An instance waits for the disk twice: its bytes are durable before it gets its name, so that no power loss leaves a name
    with half of them, and its name is durable before anybody is told. The row of the index is committed by then, but not
    waited for: a kill takes no row, and a loss of power at most the last ones, with which no file goes; the next `index` of
    the source finds these files. (SQLite's WAL with synchronous = NORMAL: https://sqlite.org/pragma.html#pragma_synchronous)
    """

    def __init__(
        self,
        source: str,
        root: Path,
        layout: Template,
        database: Path,
        schema: Schema,
        received: Callable[[Received], None],
        *,
        newest: bool = False,
        order: Order = NO_ORDER,
    ) -> None:
        self.source, self.root, self.layout, self.received, self.newest = source, root, layout, received, newest
        self.incoming = root / INCOMING
        self.places, self.indexer = Places(root), Indexer(source, root, database, schema, order)
        at = self.indexer.paths.index
        fields = (field for level in reversed(LEVELS) for field in schema.level(level))
        self._names = {field.name: at(field.tag) for field in fields if field.name in layout.names}
        self.class_at, self.study_at = at(SOP_CLASS), at(schema.level(Level.STUDY)[0].tag)
        self._lock: int | None = None
        self._making = Lock()
        self._under_way, self._ended = set[str](), Condition()

    def __enter__(self) -> "Inbox":
        """Raises OSError if the source cannot be written, DatabaseError if the index cannot be."""
        self._make_incoming()
        try:
            self._try_to_write()
            self._sweep()
            self.indexer.start()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.indexer.stop()
        self.places.close()
        self._leave()

    def _make_incoming(self) -> None:
        """Make the folder of what is on its way, unless it is there, and lock it, which says that somebody receives here."""
        with self._making:
            while not self._has_incoming():
                if self._lock is not None:
                    os.close(self._lock)
                self.incoming.mkdir(parents=True, exist_ok=True)
                self._lock = os.open(self.incoming, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _has_incoming(self) -> bool:
        if self._lock is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._lock), self.incoming.stat())
        except FileNotFoundError:
            return False

    def _try_to_write(self) -> None:
        part = self._new_part()
        part.touch(exist_ok=False)
        part.unlink()

    def _sweep(self) -> None:
        """Remove what a kill left, unless another listener receives into this source: then it may be its own."""
        if self._lock is None:
            return
        with suppress(BlockingIOError):
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in self.incoming.glob("*.part"):
                left.unlink()
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _leave(self) -> None:
        """Remove the folder, unless others still receive into this source."""
        if self._lock is None:
            return
        with suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (self.incoming / "placing.lock").unlink(missing_ok=True)
            self.incoming.rmdir()
        os.close(self._lock)
        self._lock = None

    def _new_part(self) -> Path:
        return self.incoming / f"{uuid4().hex}.part"

    @contextmanager
    def part(self, sop_class: str, sop_instance: str, transfer_syntax: str, calling_ae_title: str) -> Iterator[Part]:
        """Open a file for an instance; what is left of it at the end goes. Raises OSError."""
        about = sop_class, sop_instance, transfer_syntax, calling_ae_title
        try:
            part = Part(self, self._new_part(), *about)
        except FileNotFoundError:  # somebody removed the folder, as empty ones are removed
            self._make_incoming()
            part = Part(self, self._new_part(), *about)
        try:
            yield part
        finally:
            part.close()

    def free(self) -> int:
        """Return how many bytes of room there are."""
        room = os.statvfs(self.root)
        return room.f_bavail * room.f_frsize

    def holds(self, sop_class: str, sop_instance: str) -> int:
        """Return 0 for an instance that is durable, as it was indexed, and can be read; else why not (PS3.3 C.14.1.1).

        Raises OSError.
        """
        known = self.indexer.known(sop_instance)
        if known is None or not known.is_there():
            return Status.NO_SUCH_INSTANCE
        try:
            header = self.indexer.read(known.path)
        except Rejected:
            return Status.PROCESSING_FAILURE
        if header.SOPInstanceUID != sop_instance or header.values[self.class_at] != sop_class:
            return CLASS_INSTANCE_CONFLICT
        sync_file(known.path)  # it may be of another program, that did not wait for the disk
        return 0

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

    def path(self, values: Sequence[Value], syntax: str) -> str:
        """Return the path of the layout for these values. Raises RenderError."""
        return self.layout.path({name: values[at] for name, at in self._names.items()} | {"TransferSyntaxUID": syntax}).path
