"""The index: one SQLite database in Conquest's layout. One process writes it at a time, any number read it."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from pyconquest_rules.dicom import Level
from pyconquest_rules.disk.file import File
from pyconquest_rules.disk.young import is_young
from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.headers import notes
from pyconquest_rules.headers.header import Header
from pyconquest_rules.headers.opening import Reason
from pyconquest_rules.index.derived.geometry import measure_stale, stale
from pyconquest_rules.index.store import databases, owner
from pyconquest_rules.index.store.contest import CLAIMS, THE_ONE_THAT_COUNTS, Claim, Contest, Outcome
from pyconquest_rules.index.store.decisions import Decisions, DecisionsFile, free_device
from pyconquest_rules.index.store.derived_views import fill_referenced
from pyconquest_rules.index.store.firsts import choose_first, is_stale
from pyconquest_rules.index.store.intact import (
    check_objects,
    check_owner,
    drop,
    has_own_tables,
    is_intact,
    restore,
    strange_images,
    touched_files,
)
from pyconquest_rules.index.store.migration import alter, choose_concerned, described, fill, pending
from pyconquest_rules.index.store.obeying import keep, obey, record, recorded
from pyconquest_rules.index.store.order import Order
from pyconquest_rules.index.store.read_only import text_of
from pyconquest_rules.index.store.records import Record, records
from pyconquest_rules.index.store.reordering import contested, order_text, remember
from pyconquest_rules.index.store.rows import Rows
from pyconquest_rules.index.store.schema import Field, Schema
from pyconquest_rules.index.store.tables import WRITING, statements

BUSY_SECONDS = 60

NO_ORDER = Order()
INDEXED = Outcome("indexed")

YOUNG = "young"
"""The key of `rules_index` under which an index keeps when it read young files."""

# So many series are measured in one transaction.
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where the index has an instance: the device and root of its source, and the file as it was indexed."""

    device: str
    root: Path
    file: File

    @property
    def path(self) -> Path:
        """The whole path of the file."""
        return self.root / os.fsdecode(self.file.path)

    def is_there(self) -> bool:
        """Whether the file is still there, with the size that it was indexed with. Raises OSError."""
        try:
            return self.path.stat().st_size == self.file.size
        except (FileNotFoundError, NotADirectoryError):
            return False


@dataclass(frozen=True, slots=True)
class Device:
    """A source as the index knows it: its MAG device and the real path of its root."""

    device: str
    root: Path


class Store:
    """The writing side of an index. Use as a context manager; every `transaction` is all or nothing. One thread at a time.

    Raises DatabaseError wherever SQLite fails: a database that is damaged, a disk that is full.
    """

    def __init__(self, database: Path, schema: Schema, order: Order = NO_ORDER) -> None:
        """Opens or makes the index, and has it obey the decisions.

        Raises DatabaseError where the file is not an index of ours, UsageError where the decisions cannot be read.
        """
        self.database, self.schema, self.fingerprint, self.order = database, schema, schema.fingerprint, order
        self.file = DecisionsFile(order.base) if order.base else None
        check_owner(database)
        is_new = not database.exists()
        self.connection = _connect(database)
        try:
            if is_new:  # its pages are made here; to check them again and again takes a tenth of the time
                self.connection.execute("PRAGMA cell_size_check = OFF")
            check_objects(self.connection, database)
            if order.rules and _fingerprint(self.connection) is not None:
                owner.check(self.connection, database, order.rules)
            if self.file:
                keep(self.connection, self.file)
            _prepare(self.connection, schema, database)
            if order.rules and owner.is_anybodys(self.connection):
                self.own()
            self.records, self._rows = records(schema), Rows(schema)
            self._alone, self._version, self._met = True, _version(self.connection), -1
            self._decided()
            self._rank()
        except sqlite3.Error as error:
            self.connection.close()
            raise _unusable(database, error) from None
        except BaseException:
            self.connection.close()
            raise

    def own(self) -> None:
        """Note that the index belongs to these rules, whose sources it has now, and no others."""
        if self.order.rules:
            owner.claim(self.connection, self.database, self.order.rules)

    def _decided(self) -> None:
        """Reads the decisions, and obeys those that are new to the index."""
        known = recorded(self.connection)
        self.decisions = self.file.read() if self.file else known or Decisions()
        if self.file and (known is None or known.text != self.decisions.text):
            with self.transaction():
                self.decisions = self.file.read()  # another process may have decided while this one waited
                obey(self.connection, self.decisions, self.forget)
        self.contest = Contest(self.order.on_conflict, self.decisions.chosen)

    def decided(self) -> Decisions:
        """The decisions as their file has them now; what is new of them is obeyed. Raises UsageError."""
        if self.file and self.file.read() is not self.decisions:
            self._decided()
        return self.decisions

    def _rank(self) -> None:
        """Notes which number each source has in the rules."""
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
            raise _unusable(self.database, error) from None

    @contextmanager
    def transaction(self, *, measure: bool = True) -> Iterator[None]:
        """Everything within becomes visible at once, or not at all; at its end the levels above and the geometry are right.

        Without `measure`, the geometry waits for `measure_stale`: measuring a series takes as long as the series is.
        Raises DatabaseError where another process made the index anew, for other columns, since it was opened.
        """
        try:
            with _transaction(self.connection):
                self._meet_others()
                # The triggers note what others write; until the end of the transaction nobody else can.
                self.connection.execute("INSERT OR REPLACE INTO rules_index VALUES (?, '')", (WRITING,))
                yield
                self.prune()
                if measure:
                    self.measure()
                else:
                    self._rows.postpone(self.connection)
                self.connection.execute("DELETE FROM rules_index WHERE key = ?", (WRITING,))
        except BaseException:
            self._rows.begin()
            raise

    def _meet_others(self) -> None:
        """Finds out whether another process changed the index since the last transaction, and believes nothing any more then."""
        version = _version(self.connection)
        if version == self._met:
            return
        if _fingerprint(self.connection) != self.fingerprint:
            raise DatabaseError(f"{self.database} was made anew for other columns by another run; run this one again")
        self._alone, self._met = self._alone and version == self._version, version
        self._rows.begin()

    def refer(self) -> None:
        """Says anew which series plans and doses are made for: what they point at may have come after them, or gone.

        Where all is up to date, nobody who writes is waited for.
        """
        if (statements := fill_referenced(self.schema)) and self.connection.execute(statements[0]).fetchone():
            with self.transaction():
                self.connection.execute(statements[1])

    def pending(self) -> list[tuple[Level, Field]]:
        """The columns that came, for which instances are still to be read."""
        return pending(self.connection, self.schema)

    def choose_concerned(self, columns: list[tuple[Level, Field]]) -> None:
        """Puts the files that are to be read for these columns into `temp.to_fill`."""
        choose_concerned(self.connection, self.schema, columns)

    def fill(self, columns: list[tuple[Level, Field]], header: Header) -> None:
        """Takes what was read of an instance for these columns."""
        fill(self.connection, self.schema, columns, header)

    def filled(self) -> None:
        """Notes that nothing is pending any more."""
        self.connection.execute("DELETE FROM rules_pending")

    def device(self, name: str, root: Path) -> str:
        """The MAG device of a source. A source keeps the first that it got, also when its root moves."""
        query = "SELECT device FROM rules_sources WHERE name = ?"
        if row := self.connection.execute(query, (name,)).fetchone():
            return str(row[0])
        taken = [device for (device,) in self.connection.execute("SELECT device FROM rules_sources")]
        device = self.file.device(name, taken) if self.file else free_device(taken)
        with self.transaction():
            insert = "INSERT OR IGNORE INTO rules_sources VALUES (?, ?, CAST(? AS TEXT), ?)"
            self.connection.execute(insert, (device, name, os.fsencode(root), self.order.rank(name, device)))
            if self.file:  # the index knows of this decision
                record(self.connection, self.file.read())
            device = str(self.connection.execute(query, (name,)).fetchone()[0])
        self.ranks[device] = self.order.rank(name, device)
        return device

    def move(self, name: str, root: Path) -> None:
        """Notes where the root of a source is now."""
        update = "UPDATE rules_sources SET path = CAST(? AS TEXT) WHERE name = ?"
        self.connection.execute(update, (os.fsencode(root), name))

    def sources(self) -> dict[str, Device]:
        """The sources of the index by name."""
        rows = self.connection.execute("SELECT name, device, CAST(path AS BLOB) FROM rules_sources")
        return {name: Device(device, Path(os.fsdecode(path))) for name, device, path in rows}

    def is_empty(self) -> bool:
        """Whether the index knows no file at all."""
        return self.connection.execute("SELECT 1 FROM rules_files LIMIT 1").fetchone() is None

    def known(self, device: str) -> sqlite3.Cursor:
        """Path, size and mtime_ns of the files of a device, in the byte order of their paths.

        A file that could not be read has the size -1: it may be readable now, as neither permissions, a disk that works again
        nor more memory change mtime.
        """
        size = f"CASE WHEN reason IN ('{Reason.UNREADABLE}', '{Reason.READER_KILLED}') THEN -1 ELSE size END"
        query = f"SELECT CAST(path AS BLOB), {size}, mtime_ns FROM rules_files WHERE device = ? ORDER BY device, path"
        return self.connection.execute(query, (device,))

    def forget(self, device: str, path: bytes) -> list[tuple[str, bytes, int, int]]:
        """Takes a file out of the index, with its instance where this was the place of it.

        Gives the other files of that instance (device, path, size, mtime_ns), which it forgets too: read again, the first
        of them becomes its place. Levels left without instances go with `prune`.
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

    def is_touched(self) -> bool:
        """Whether somebody else wrote rows of the Conquest tables since the last `take_back`."""
        return self.connection.execute("SELECT 1 FROM rules_touched LIMIT 1").fetchone() is not None

    def touched(self) -> Iterator[tuple[str, bytes, int, int]]:
        """The files (device, path, size, mtime_ns) that say anew what others touched; some come more than once."""
        for query in touched_files(self.schema):
            yield from self.connection.execute(query).fetchall()

    def take_back(self) -> None:
        """Forgets what was touched, once its files are forgotten: the next who reads them writes the rows anew.

        Removes touched rows that no file of the index has. Files that are still known stay touched.
        """
        for (uid,) in self.connection.execute(strange_images(self.schema)).fetchall():
            self._rows.remove(self.connection, uid, "", b"")
        self._rows.doubt(self.connection)
        known = "SELECT 1 FROM rules_files AS f WHERE f.SOPInstanceUID = rules_touched.key AND f.outcome = 'indexed'"
        self.connection.execute(f"DELETE FROM rules_touched WHERE level != 'image' OR NOT EXISTS ({known})")

    def prune(self) -> None:
        """Removes series, studies and patients that `forget` left empty, and says anew which modalities the studies have."""
        self._rows.prune(self.connection)

    def measure(self) -> None:
        """Says anew how the slices of the series lie that got or lost any."""
        self._rows.measure(self.connection)

    def measure_stale(self) -> None:
        """Measure the series that transactions without `measure` left."""
        while self.measure_some():
            pass

    def measure_some(self) -> bool:
        """Measure a few of these series, in a transaction so short that nobody waits long; return whether there may be more."""
        if not stale(self.connection):
            return False
        with _transaction(self.connection):
            series = stale(self.connection, AT_ONCE)
            measure_stale(self.connection, series)
        return len(series) == AT_ONCE

    def check_writable(self) -> None:
        """Raise DatabaseError if the index cannot be written."""
        try:
            with _transaction(self.connection):
                self.connection.execute("UPDATE rules_index SET value = value WHERE key = 'schema'")
        except sqlite3.Error as error:
            raise _unusable(self.database, error) from None

    def noted(self, device: str, file: File) -> Outcome | None:
        """What became of a file that is in the index, as another process put it there since this store was opened."""
        if self._alone:
            return None
        query = "SELECT outcome, reason FROM rules_files WHERE device = ? AND path = CAST(? AS TEXT)"
        row = self.connection.execute(query, (device, file.path)).fetchone()
        return Outcome(*row) if row else None

    def reject(self, device: str, file: File, reason: str) -> Outcome:
        """Notes a file that is not, or not readable as, an instance."""
        outcome = Outcome("rejected", reason)
        self._note(device, file, outcome, None)
        return outcome

    def add(self, device: str, root: Path, file: File, record: Record) -> Outcome:
        """Puts an instance into the index, unless it is forgotten. Of several files that have it, the first in order counts."""
        uid = record.SOPInstanceUID
        if self.decisions.forgotten and self.decisions.forget(row[0] for row in record.rows):
            outcome = Outcome("skipped", "forgotten")
            self._note(device, file, outcome, record)
            return outcome
        there = self._there(uid)
        if there is not None and (there.device, there.path) != (device, file.path):
            own = Claim(self._name(device), self.ranks[device], device, str(root), file.path, file.mtime_ns)
            # Without rules there is no order: as in pyconquest, the file that came first stays.
            if self.order == NO_ORDER or self.contest.key(uid, there) <= self.contest.key(uid, own):
                outcome = self.contest.beside(uid, there, own)
                self._note(device, file, outcome, record)
                return outcome
            self._rows.remove(self.connection, uid, there.device, there.path)
            self._set_beside(uid, own)
        outcome = Outcome("indexed", notes.reason(record.notes)) if record.notes else INDEXED
        self._rows.write(self.connection, record, device, file, self.ranks[device])
        self._note(device, file, outcome, record)
        return outcome

    def _set_beside(self, uid: str, counts: Claim) -> None:
        """Says anew what the other files of an instance are, now that `counts` is the one that counts."""
        for other in self._claims(uid):
            if (other.device, other.path) != (counts.device, counts.path):
                outcome = self.contest.beside(uid, counts, other)
                update = "UPDATE rules_files SET outcome = ?, reason = ? WHERE device = ? AND path = CAST(? AS TEXT)"
                self.connection.execute(update, (outcome.outcome, outcome.reason, other.device, other.path))

    def tell(self, device: str, file: File, record: Record) -> None:
        """Has a file say the rows above its instance of which it is the first, if it is as it was indexed."""
        query = (
            "SELECT 1 FROM rules_files WHERE device = ? AND path = CAST(? AS TEXT) AND outcome = 'indexed'"
            " AND (size, mtime_ns, SOPInstanceUID) = (?, ?, ?)"
        )
        if self.connection.execute(query, (device, *file, record.SOPInstanceUID)).fetchone():
            self._rows.tell(self.connection, record, device, (self.ranks[device], file.path))

    def choose_first(self) -> bool:
        """Puts the files that are to say rows anew into `temp.to_tell`; whether there are any."""
        if not is_stale(self.connection):
            return False
        with self.transaction():
            return choose_first(self.connection, self.schema)

    def contested(self) -> list[tuple[str, bytes, int, int]]:
        """The files (device, path, size, mtime_ns) to be read again because the order of files changed since `ordered`."""
        return contested(self.connection, order_text(self.order, self.decisions)) if self.order.base else []

    def young(self) -> list[tuple[str, bytes, int, int]]:
        """The files (device, path, size, mtime_ns) that were read so soon after they changed that their times tell nothing."""
        row = self.connection.execute("SELECT value FROM rules_index WHERE key = ?", (YOUNG,)).fetchone()
        if row is None:
            return []
        began, now = map(int, row[0].split())
        rows = self.connection.execute("SELECT device, CAST(path AS BLOB), size, mtime_ns FROM rules_files")
        return [each for each in rows if is_young(each[3], began, now)]

    def note_young(self, began: int, now: int) -> None:
        """Notes that young files were read between two moments."""
        row = self.connection.execute("SELECT value FROM rules_index WHERE key = ?", (YOUNG,)).fetchone()
        began = min(began, int(row[0].split()[0])) if row else began
        self.connection.execute("INSERT OR REPLACE INTO rules_index VALUES (?, ?)", (YOUNG, f"{began} {now}"))

    def looked_again(self) -> None:
        """Notes that the young files will be read."""
        self.connection.execute("DELETE FROM rules_index WHERE key = ?", (YOUNG,))

    def ordered(self) -> None:
        """Notes that the index is in the order of the rules."""
        if self.order.base:
            remember(self.connection, order_text(self.order, self.decisions))

    def place_of(self, uid: str) -> "Place | None":
        """Return where the index has an instance; None if it has none."""
        query = (
            "SELECT f.device, s.path, CAST(f.path AS BLOB), f.size, f.mtime_ns FROM rules_files f JOIN rules_sources s"
            " USING (device) WHERE f.SOPInstanceUID = ? AND f.outcome = 'indexed'"
        )
        row = self.connection.execute(query, (uid,)).fetchone()
        return Place(row[0], Path(row[1]), File(*row[2:])) if row else None

    def _note(self, device: str, file: File, outcome: Outcome, record: Record | None) -> None:
        uid, syntax = (record.SOPInstanceUID, record.TransferSyntaxUID) if record else (None, None)
        self.connection.execute(
            "INSERT OR REPLACE INTO rules_files VALUES (?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, NULL)",
            (device, file.path, file.size, file.mtime_ns, outcome.outcome, outcome.reason, uid, syntax),
        )

    def _there(self, uid: str) -> Claim | None:
        """The file of an instance that counts."""
        row = self.connection.execute(THE_ONE_THAT_COUNTS, (uid,)).fetchone()
        return Claim(*row) if row else None

    def _claims(self, uid: str) -> list[Claim]:
        """All files of an instance that are not left out."""
        return [Claim(*row) for row in self.connection.execute(f"{CLAIMS} AND f.outcome != 'skipped'", (uid,)).fetchall()]

    def _name(self, device: str) -> str:
        """The name of the source of a device."""
        return str(self.connection.execute("SELECT name FROM rules_sources WHERE device = ?", (device,)).fetchone()[0])


def _unusable(database: Path, error: sqlite3.Error) -> DatabaseError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return DatabaseError(f"the index {database} is locked by another program; end that, or run again when it is done")
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
        return DatabaseError(f"the index {database} cannot be written; check the permissions of the file and its folder")
    return DatabaseError(f"cannot use the index {database}: {error}; it is a cache: if it is damaged, delete it and index again")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # SQLite itself ends one where the disk is full
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _connect(database: Path) -> sqlite3.Connection:
    try:
        connection = databases.connect(database, timeout=BUSY_SECONDS)
    except sqlite3.Error as error:
        raise DatabaseError(f"cannot open the index {database}: {error}") from None
    connection.text_factory = text_of
    return connection


def _prepare(connection: sqlite3.Connection, schema: Schema, database: Path) -> None:
    """Makes the tables of a new index, and makes an index of another schema anew: it is a cache. Sources keep their devices."""
    wal = databases.may_use_wal(database)
    _use_journal(connection, "WAL" if wal else "DELETE")
    # Without WAL, a power failure in the wrong moment could damage the database (https://sqlite.org/pragma.html).
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if wal else 'FULL'}")
    connection.execute("CREATE TEMP TABLE touched (level TEXT, key TEXT, PRIMARY KEY (level, key)) WITHOUT ROWID")
    files = "(device TEXT, path BLOB, size INT, mtime_ns INT, PRIMARY KEY (device, path)) WITHOUT ROWID"
    connection.execute(f"CREATE TEMP TABLE to_tell {files}")
    if _fingerprint(connection) == schema.fingerprint and is_intact(connection, schema):
        return  # without waiting for anybody who writes
    with _transaction(connection):
        fingerprint, sources = _fingerprint(connection), []
        if fingerprint == schema.fingerprint:
            restore(connection, schema)
            return
        if fingerprint is not None and has_own_tables(connection, schema) and alter(connection, schema):
            _remember(connection, schema)
            return
        if fingerprint is not None:
            sources = connection.execute("SELECT device, name, CAST(path AS BLOB) FROM rules_sources").fetchall()
            drop(connection, schema)
        for statement in statements(schema):
            connection.execute(statement)
        connection.executemany("INSERT INTO rules_sources VALUES (?, ?, CAST(? AS TEXT), NULL)", sources)
        _remember(connection, schema)


def _use_journal(connection: sqlite3.Connection, mode: str) -> None:
    """Waits for another process that makes the same new database, for which SQLite itself would not wait here."""
    end = monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode = {mode}")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > end:
                raise
        sleep(0.01)


def _version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection writes."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _remember(connection: sqlite3.Connection, schema: Schema) -> None:
    """Notes for which schema the index is."""
    values = {"schema": schema.fingerprint, "columns": described(schema)}
    connection.executemany("INSERT OR REPLACE INTO rules_index VALUES (?, ?)", values.items())


def _fingerprint(connection: sqlite3.Connection) -> str | None:
    """For which schema the index was made; None where there is no index yet."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'rules_index'").fetchone():
        return None
    row = connection.execute("SELECT value FROM rules_index WHERE key = 'schema'").fetchone()
    return str(row[0]) if row else ""
