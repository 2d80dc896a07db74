"""Share one index among the threads of a listener: write rows in batches, and compute the geometry of growing series."""

import errno
import os
import sqlite3
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic

from pyconquest_rules.dicom import tag_path
from pyconquest_rules.disk.sources import header_of
from pyconquest_rules.errors import DatabaseError, UsageError
from pyconquest_rules.headers.header import Header, Reader, Wanted
from pyconquest_rules.index.store.order import NO_ORDER, Order
from pyconquest_rules.index.store.places import Place, place_of
from pyconquest_rules.index.store.records import Record, records
from pyconquest_rules.index.store.schema import Schema
from pyconquest_rules.index.store.store import Store

SOP_CLASS = tag_path("SOPClassUID")
TOGETHER = 64
"""The largest number of instances in one transaction."""
MEASURE_SECONDS, SHARE = 5.0, 50
"""Seconds between two computations of geometry, and the share of the time (1/SHARE) that they may take."""


class Indexer:
    """The index of a listener. Threads share it; one thread writes the rows of all waiting threads in one transaction.

    The geometry of a series is computed every few seconds, not for each instance, because its cost grows with the series. Until
    then, the index lists the series to compute, so that neither readers nor a kill miss them.
    """

    def __init__(self, source: str, root: Path, database: Path, schema: Schema, order: Order = NO_ORDER) -> None:
        self.source, self.root, self.database, self.schema, self.order = source, root, database, schema, order
        self._records = records(schema)
        wanted = self._records.wanted
        self.paths = wanted.paths if SOP_CLASS in wanted.paths else (*wanted.paths, SOP_CLASS)
        self._reader = Reader(Wanted(self.paths, pointing=wanted.pointing))
        self._waiting: deque[_Row] = deque()
        self._reading, self._using = Lock(), Lock()
        self._grown, self._ended = False, Event()
        self._measuring = Thread(target=self._measure, name="measure", daemon=True)

    def start(self) -> None:
        """Open the index. Raises DatabaseError if it cannot be written."""
        self._open()
        try:
            self._store.check_writable()
            self._measuring.start()
        except BaseException:
            self._store.connection.close()
            raise

    def _open(self) -> None:
        self._store = Store(self.database, self.schema, self.order)
        try:
            self._file = os.stat(self.database)
            self.device = self._store.device(self.source, self.root)
        except BaseException:
            self._store.connection.close()
            raise

    def _follow(self) -> None:
        """Open the index again if its file was deleted or replaced; else rows would go to a file without a name.

        Raises DatabaseError if it cannot be opened.
        """
        try:
            if os.path.samestat(os.stat(self.database), self._file):
                return
        except FileNotFoundError:
            pass
        self._store.connection.close()
        self._open()

    def stop(self) -> None:
        """Wait for the threads that use the index, compute the remaining geometry, and close the index."""
        self._ended.set()
        self._measuring.join()
        self._measure_once()
        with self._using:
            self._store.connection.close()

    def read(self, source: Path | bytes) -> Header:
        """Return the header of a file, or of a member of an archive. Raises Rejected."""
        with self._reading:
            return header_of(os.fsencode(source), self._reader)

    def known(self, sop_instance: str) -> Place | None:
        """Return the place of an instance, or None if it is not indexed. Raises OSError if the index cannot be read."""
        try:
            with self._using:
                self._follow()
                return place_of(self._store.connection, sop_instance)
        except (sqlite3.Error, DatabaseError, OSError):
            raise OSError(errno.EIO, "the index cannot be read") from None

    def is_forgotten(self, header: Header) -> bool:
        """Return whether the current decisions forget an instance. Raises OSError if they cannot be read."""
        try:
            with self._using:
                decisions = self._store.decided()
            return bool(decisions.forgotten) and decisions.forget(row[0] for row in self._records.record(header).rows)
        except (UsageError, DatabaseError, sqlite3.Error):
            raise OSError(errno.EIO, "the decisions cannot be read or applied") from None

    def add(self, place: Place, header: Header, gone: Place | None = None) -> None:
        """Index an instance at `place`, and remove the row of `gone`. Wait until that is done. Raises OSError."""
        row = _Row(place, gone, self._records.record(header))
        self._waiting.append(row)
        with self._using:
            while row.failed is None:
                self._write([self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))])
        if row.failed:
            raise OSError(*row.failed)

    def _write(self, rows: list["_Row"]) -> None:
        failed: tuple[int, str] | tuple[()] = (errno.EIO, "the index cannot be written")
        try:
            self._follow()
            with self._store.transaction(measure=False):
                for row in rows:
                    if row.gone is not None:
                        self._store.forget(row.gone.device, row.gone.file.path)
                    self._store.forget(row.place.device, row.place.file.path)
                    self._store.add(row.place.device, row.place.root, row.place.file, row.record)
            self._grown, failed = True, ()
        except sqlite3.Error as error:  # reported to the threads that wait
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                failed = errno.ENOSPC, "no space is left for the index"
        except (DatabaseError, OSError):
            pass
        finally:
            for row in rows:
                row.failed = failed

    def _measure(self) -> None:
        pause = MEASURE_SECONDS
        while not self._ended.wait(pause):
            begin = monotonic()
            self._measure_once()
            pause = max(MEASURE_SECONDS, SHARE * (monotonic() - begin))

    def _measure_once(self) -> None:
        """Compute the geometry of series that grew, and link plans and doses that arrived before their references.

        A series that cannot be computed now stays listed in the index.
        """
        more = self._grown
        try:
            if more:
                with self._using:
                    self._store.refer()
            while more:
                with self._using:
                    self._grown = False
                    more = self._store.measure_some()
        except (sqlite3.Error, DatabaseError):
            self._grown = True


@dataclass(slots=True)
class _Row:
    """A file to index, and the file that it replaces, if any.

    `failed` is None while it waits, () after success, and the arguments of an OSError after a failure.
    """

    place: Place
    gone: Place | None
    record: Record
    failed: tuple[int, str] | tuple[()] | None = None
