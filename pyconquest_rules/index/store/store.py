"""The index: one SQLite database in Conquest's layout. One process writes at a time, any number read."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyconquest_rules.disk.file import File
from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.headers import notes
from pyconquest_rules.index.derived.geometry import measure_stale, stale
from pyconquest_rules.index.store import owner
from pyconquest_rules.index.store.contest import CLAIMS, INDEXED_CLAIM, Claim, Contest, Outcome
from pyconquest_rules.index.store.decisions import Decisions, DecisionsFile, free_device
from pyconquest_rules.index.store.derived_views import fill_referenced
from pyconquest_rules.index.store.firsts import choose_first, is_stale
from pyconquest_rules.index.store.obeying import obey, record, recorded
from pyconquest_rules.index.store.opening import data_version, immediate, open_index, schema_fingerprint, unusable
from pyconquest_rules.index.store.order import NO_ORDER, Order
from pyconquest_rules.index.store.places import Device
from pyconquest_rules.index.store.records import Record, records
from pyconquest_rules.index.store.rows import Rows
from pyconquest_rules.index.store.schema import Schema
from pyconquest_rules.index.store.tables import WRITING
from pyconquest_rules.index.store.touched import clear_touched, foreign_images

INDEXED = Outcome("indexed")

SERIES_A_TRANSACTION = 16
"""How many series are measured in one transaction."""


class Store:
    """The writing side of an index. Use it as a context manager, from one thread at a time. A `transaction` is all or nothing.

    Raises DatabaseError if SQLite fails, as when the database is damaged or the disk is full.
    """

    def __init__(self, database: Path, schema: Schema, order: Order = NO_ORDER) -> None:
        """Open or create the index, and apply the decisions to it.

        Raises DatabaseError if the file is not an index of this program, UsageError if the decisions cannot be read.
        """
        self.database, self.schema, self.fingerprint, self.order = database, schema, schema.fingerprint, order
        self.file = DecisionsFile(order.base) if order.base else None
        self.connection = open_index(database, schema, order.rules, self.file)
        try:
            self.records, self._rows = records(schema), Rows(schema)
            self._alone, self._version, self._met = True, data_version(self.connection), -1
            self._apply_decisions()
            self._rank()
        except sqlite3.Error as error:
            self.connection.close()
            raise unusable(database, error) from None
        except BaseException:
            self.connection.close()
            raise

    def own(self) -> None:
        """Record that the index belongs to these rules. Call it when the index has exactly their sources."""
        if self.order.rules:
            owner.claim(self.connection, self.database, self.order.rules)

    def _apply_decisions(self) -> None:
        """Read the decisions, and apply those that are new to the index."""
        known = recorded(self.connection)
        self.decisions = self.file.read() if self.file else known or Decisions()
        if self.file and (known is None or known.text != self.decisions.text):
            with self.transaction():
                self.decisions = self.file.read()  # another process may have changed them while this one waited
                obey(self.connection, self.decisions, self.forget)
        self.contest = Contest(self.order.on_conflict, self.decisions.chosen)

    def decided(self) -> Decisions:
        """Return the decisions as their file has them now, after applying new ones. Raises UsageError if the file is invalid."""
        if self.file and self.file.read() is not self.decisions:
            self._apply_decisions()
        return self.decisions

    def _rank(self) -> None:
        """Store the number that each source has in the rules."""
        rows = self.connection.execute("SELECT rank, name, device FROM rules_sources").fetchall()
        if self.order.base is None:
            self.ranks = {device: rank for rank, _, device in rows}
            return
        changed = [(rank, name) for before, name, device in rows if (rank := self.order.rank(name, device)) != before]
        if changed:
            with self.transaction():
                self.connection.executemany("UPDATE rules_sources SET rank = ? WHERE name = ?", changed)
        self.ranks = {device: self.order.rank(name, device) for _, name, device in rows}

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.connection.close()
        if isinstance(error, sqlite3.Error):
            raise unusable(self.database, error) from None

    @contextmanager
    def transaction(self, *, measure: bool = True) -> Iterator[None]:
        """Run a transaction. Before it is committed, the rows of patients, studies and series and the geometry are updated.

        Without `measure`, the geometry is left to `measure_some`, because measuring a long series takes long.

        Raises DatabaseError if another process has rebuilt the index for other columns since it was opened.
        """
        try:
            with immediate(self.connection):
                self._meet_others()
                # The triggers note what others write. Until this transaction ends, no other process can write.
                self.connection.execute("INSERT OR REPLACE INTO rules_index VALUES (?, '')", (WRITING,))
                yield
                self._rows.prune(self.connection)
                if measure:
                    self._rows.measure(self.connection)
                else:
                    self._rows.postpone(self.connection)
                self.connection.execute("DELETE FROM rules_index WHERE key = ?", (WRITING,))
        except BaseException:
            self._rows.reset()
            raise

    def _meet_others(self) -> None:
        """If another process changed the index since the last transaction, drop what `Rows` remembers of it."""
        version = data_version(self.connection)
        if version == self._met:
            return
        if schema_fingerprint(self.connection) != self.fingerprint:
            raise DatabaseError(f"another run has rebuilt {self.database} with other columns; run this command again")
        self._alone, self._met = self._alone and version == self._version, version
        self._rows.reset()

    def refer(self) -> None:
        """Update which series plans and doses refer to: what they refer to may have come after them, or gone.

        If everything is up to date, this does not wait for other writers.
        """
        if (statements := fill_referenced(self.schema)) and self.connection.execute(statements[0]).fetchone():
            with self.transaction():
                self.connection.execute(statements[1])

    def device(self, name: str, root: Path) -> str:
        """Return the MAG device of a source, and give it one if it is new. A source keeps its device when its root moves."""
        query = "SELECT device FROM rules_sources WHERE name = ?"
        if row := self.connection.execute(query, (name,)).fetchone():
            return str(row[0])
        taken = [device for (device,) in self.connection.execute("SELECT device FROM rules_sources")]
        device = self.file.device(name, taken) if self.file else free_device(taken)
        with self.transaction():
            insert = "INSERT OR IGNORE INTO rules_sources VALUES (?, ?, CAST(? AS TEXT), ?)"
            self.connection.execute(insert, (device, name, os.fsencode(root), self.order.rank(name, device)))
            if self.file:  # this decision is already applied
                record(self.connection, self.file.read())
            device = str(self.connection.execute(query, (name,)).fetchone()[0])
        self.ranks[device] = self.order.rank(name, device)
        return device

    def move(self, name: str, root: Path) -> None:
        """Store the new root of a source."""
        update = "UPDATE rules_sources SET path = CAST(? AS TEXT) WHERE name = ?"
        self.connection.execute(update, (os.fsencode(root), name))

    def sources(self) -> dict[str, Device]:
        """Return the sources of the index by name."""
        rows = self.connection.execute("SELECT name, device, CAST(path AS BLOB) FROM rules_sources")
        return {name: Device(device, Path(os.fsdecode(path))) for name, device, path in rows}

    def is_empty(self) -> bool:
        """Return whether the index has no file at all."""
        return self.connection.execute("SELECT 1 FROM rules_files LIMIT 1").fetchone() is None

    def forget(self, device: str, path: bytes) -> list[tuple[str, bytes, int, int]]:
        """Remove a file from the index, and its instance if this file was its place.

        Return the other files of that instance (device, path, size, mtime_ns). They are removed too: when they are read
        again, the first of them becomes its place. At its end, the transaction removes levels that have no instances left.
        """
        where = "WHERE device = ? AND path = CAST(? AS TEXT)"
        row = self.connection.execute(f"SELECT SOPInstanceUID, outcome FROM rules_files {where}", (device, path)).fetchone()
        if row is None:
            return []
        self.connection.execute(f"DELETE FROM rules_files {where}", (device, path))
        if row[1] != "indexed":
            return []
        self._rows.remove(self.connection, row[0], device, path)
        others = "DELETE FROM rules_files WHERE SOPInstanceUID = ? AND outcome != 'skipped'"
        returning = "RETURNING device, CAST(path AS BLOB), size, mtime_ns"
        return self.connection.execute(f"{others} {returning}", (row[0],)).fetchall()

    def take_back(self) -> None:
        """Discard what other programs wrote, after the files of touched rows were forgotten: reading them restores the rows.

        Touched images without a file are removed. Rows whose files are still known stay touched.
        """
        for uid in foreign_images(self.connection, self.schema):
            self._rows.remove(self.connection, uid, "", b"")
        self._rows.distrust_touched(self.connection)
        clear_touched(self.connection)

    def measure_stale(self) -> None:
        """Measure all series that transactions without `measure` left."""
        while self.measure_some():
            pass

    def measure_some(self) -> bool:
        """Measure a few of these series in a transaction so short that no writer waits long. Return whether more may be left."""
        if not stale(self.connection):
            return False
        with immediate(self.connection):
            series = stale(self.connection, SERIES_A_TRANSACTION)
            measure_stale(self.connection, series)
        return len(series) == SERIES_A_TRANSACTION

    def check_writable(self) -> None:
        """Raise DatabaseError if the index cannot be written."""
        try:
            with immediate(self.connection):
                self.connection.execute("UPDATE rules_index SET value = value WHERE key = 'schema'")
        except sqlite3.Error as error:
            raise unusable(self.database, error) from None

    def noted(self, device: str, file: File) -> Outcome | None:
        """Return the outcome of a file that another process indexed since this store was opened; None for any other file."""
        if self._alone:
            return None
        query = "SELECT outcome, reason FROM rules_files WHERE device = ? AND path = CAST(? AS TEXT)"
        row = self.connection.execute(query, (device, file.path)).fetchone()
        return Outcome(*row) if row else None

    def reject(self, device: str, file: File, why: Outcome | str) -> Outcome:
        """Record a file that is not indexed, and return its outcome: rejected, if `why` is only a reason."""
        outcome = why if isinstance(why, Outcome) else Outcome("rejected", why)
        self._note(device, file, outcome, None)
        return outcome

    def add(self, device: str, root: Path, file: File, record: Record) -> Outcome:
        """Index the instance of a file unless it is forgotten, and return the outcome of the file.

        If several files have this instance, the first of them in the order of files is indexed.
        """
        uid = record.SOPInstanceUID
        if self.decisions.forgotten and self.decisions.forget(row[0] for row in record.rows):
            outcome = Outcome("skipped", "forgotten")
            self._note(device, file, outcome, record)
            return outcome
        row = self.connection.execute(INDEXED_CLAIM, (uid,)).fetchone()
        indexed = Claim(*row) if row else None
        if indexed is not None and (indexed.device, indexed.path) != (device, file.path):
            own = Claim(self._name(device), self.ranks[device], device, str(root), file.path, file.mtime_ns)
            # Without rules there is no order. As in pyconquest, the file that was indexed first stays.
            if self.order == NO_ORDER or self.contest.key(uid, indexed) <= self.contest.key(uid, own):
                outcome = self.contest.outcome(uid, indexed, own)
                self._note(device, file, outcome, record)
                return outcome
            self._rows.remove(self.connection, uid, indexed.device, indexed.path)
            self._update_others(uid, own)
        outcome = Outcome("indexed", notes.reason(record.notes)) if record.notes else INDEXED
        self._rows.write(self.connection, record, device, file, self.ranks[device])
        self._note(device, file, outcome, record)
        return outcome

    def _update_others(self, uid: str, indexed: Claim) -> None:
        """Update the outcomes of the other files of an instance, now that `indexed` is the one that is indexed."""
        for row in self.connection.execute(f"{CLAIMS} AND f.outcome != 'skipped'", (uid,)).fetchall():
            other = Claim(*row)
            if (other.device, other.path) != (indexed.device, indexed.path):
                outcome = self.contest.outcome(uid, indexed, other)
                update = "UPDATE rules_files SET outcome = ?, reason = ? WHERE device = ? AND path = CAST(? AS TEXT)"
                self.connection.execute(update, (outcome.outcome, outcome.reason, other.device, other.path))

    def write_above(self, device: str, file: File, record: Record) -> None:
        """Write the patient, study and series rows that a file defines, if the file is still as it was indexed."""
        query = (
            "SELECT 1 FROM rules_files WHERE device = ? AND path = CAST(? AS TEXT) AND outcome = 'indexed'"
            " AND (size, mtime_ns, SOPInstanceUID) = (?, ?, ?)"
        )
        if self.connection.execute(query, (device, *file, record.SOPInstanceUID)).fetchone():
            self._rows.write_above(self.connection, record, device, (self.ranks[device], file.path))

    def choose_first(self) -> bool:
        """Put the files that define stale rows into `temp.to_define`. Return whether there are any."""
        if not is_stale(self.connection):
            return False
        with self.transaction():
            return choose_first(self.connection, self.schema)

    def _note(self, device: str, file: File, outcome: Outcome, record: Record | None) -> None:
        uid, syntax = (record.SOPInstanceUID, record.TransferSyntaxUID) if record else (None, None)
        burned_in = record.BurnedInAnnotation if record else None
        self.connection.execute(
            "INSERT OR REPLACE INTO rules_files VALUES (?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, NULL, ?)",
            (device, file.path, file.size, file.mtime_ns, outcome.outcome, outcome.reason, uid, syntax, burned_in),
        )

    def _name(self, device: str) -> str:
        """Return the name of the source of a device."""
        return str(self.connection.execute("SELECT name FROM rules_sources WHERE device = ?", (device,)).fetchone()[0])
