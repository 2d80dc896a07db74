"""Store received instances: below a source, by its layout, and in the index. Only then does the peer get an answer."""

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
from pyconquest_rules.disk.room import free
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
    """Stores instances in a source. A context manager; threads of many associations may share it.

    `received` is called for every new instance after it is durable and indexed. Another data set of an existing instance is
    refused; with `newest`, it replaces the existing one, which is kept in OLDER.

    There are two syncs for each instance. Its bytes are durable before it gets its name, so that a power loss leaves no partial
    file. Its name is durable before the answer. The row of the index is committed by then, but not synced: a kill loses no row,
    and a power loss at most the last ones. The next `index` of the source finds their files. (SQLite's WAL with
    synchronous = NORMAL: https://sqlite.org/pragma.html#pragma_synchronous)
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
        """Raise OSError if the source cannot be written, DatabaseError if the index cannot."""
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
        """Create the folder for partial files, if it is missing, and lock it, to show that a listener uses it."""
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
        """Delete partial files of killed listeners, unless another listener uses the folder: they may belong to it."""
        if self._lock is None:
            return
        with suppress(BlockingIOError):
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in self.incoming.glob("*.part"):
                left.unlink()
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _leave(self) -> None:
        """Delete the folder, unless another listener uses it."""
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
        """Open a temporary file for an instance, and delete it at the end. Raises OSError."""
        about = sop_class, sop_instance, transfer_syntax, calling_ae_title
        try:
            part = Part(self, self._new_part(), *about)
        except FileNotFoundError:  # another program deleted the folder, perhaps because it was empty
            self._make_incoming()
            part = Part(self, self._new_part(), *about)
        try:
            yield part
        finally:
            part.close()

    def free(self) -> int:
        """Return the number of free bytes."""
        return free(self.root)

    def holds(self, sop_class: str, sop_instance: str) -> int:
        """Return 0 if an instance is unchanged, readable and durable, else its Failure Reason (PS3.3 C.14.1.1).

        Raises OSError.
        """
        known = self.indexer.known(sop_instance)
        if known is None or not known.is_there():
            return Status.NO_SUCH_INSTANCE
        try:
            header = self.indexer.read(known.source)
        except Rejected:
            return Status.PROCESSING_FAILURE
        if header.SOPInstanceUID != sop_instance or header.values[self.class_at] != sop_class:
            return CLASS_INSTANCE_CONFLICT
        sync_file(known.path)  # another program may have written it without a sync
        return 0

    @contextmanager
    def alone(self, sop_instance: str) -> Iterator[None]:
        """Hold the lock of an instance, so that the second of two simultaneous copies finds the first one."""
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
        """Render the path of the layout for these values. Raises RenderError."""
        return self.layout.path({name: values[at] for name, at in self._names.items()} | {"TransferSyntaxUID": syntax}).path
