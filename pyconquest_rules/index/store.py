"""The index: one SQLite database in Conquest's layout. One process writes it at a time, any number read it."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.index.header import Header, Wanted
from pyconquest_rules.index.rows import Rows
from pyconquest_rules.index.sql import text_of
from pyconquest_rules.index.tables import TABLES, Schema, quoted, statements
from pyconquest_rules.index.walk import File

BUSY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: `indexed | duplicate | rejected`, and the reason where it was not indexed."""

    outcome: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A file as the index knows it."""

    path: bytes
    size: int
    mtime_ns: int
    outcome: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Device:
    """A source as the index knows it: its MAG device and the real path of its root."""

    device: str
    root: Path


class Store:
    """The writing side of an index. Use as a context manager; every `transaction` is all or nothing."""

    def __init__(self, database: Path, schema: Schema) -> None:
        """Opens or makes the index. Raises DatabaseError where the file is not an index of ours."""
        self.database, self.schema = database, schema
        self.connection = _connect(database)
        _own(self.connection, database)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute("CREATE TEMP TABLE touched (key TEXT PRIMARY KEY) WITHOUT ROWID")
        with self.transaction():
            _prepare(self.connection, schema)
        self.wanted = Wanted(schema.tags())
        self._rows = Rows(schema)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything within becomes visible and durable at once, or not at all."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def device(self, name: str, root: Path) -> str:
        """The MAG device of a source. A source keeps the first that it got, also when its root moves."""
        row = self.connection.execute("SELECT device FROM rules_sources WHERE name = ?", (name,)).fetchone()
        if row is None:
            taken = {int(device[3:]) for (device,) in self.connection.execute("SELECT device FROM rules_sources")}
            row = (f"MAG{next(n for n in range(len(taken) + 1) if n not in taken)}",)
        self.connection.execute(
            "INSERT INTO rules_sources VALUES (?, ?, CAST(? AS TEXT)) ON CONFLICT (device) DO UPDATE SET path = excluded.path",
            (row[0], name, os.fsencode(root)),
        )
        return str(row[0])

    def sources(self) -> dict[str, Device]:
        """The sources of the index by name."""
        rows = self.connection.execute("SELECT name, device, CAST(path AS BLOB) FROM rules_sources")
        return {name: Device(device, Path(os.fsdecode(path))) for name, device, path in rows}

    def known(self, device: str) -> Iterator[Known]:
        """The files of a device in the byte order of their paths, as they were when the first is asked for."""
        reader = _connect(self.database)
        query = (
            "SELECT CAST(path AS BLOB), size, mtime_ns, outcome, reason FROM rules_files WHERE device = ? ORDER BY device, path"
        )
        try:
            yield from (Known(*row) for row in reader.execute(query, (device,)))
        finally:
            reader.close()

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
        uid = row[0]
        image = self.schema.level(Level.IMAGE)
        (series,) = self.connection.execute(
            f"SELECT {quoted(image[-1].column)} FROM DICOMImages WHERE {quoted(image[0].column)} = ?", (uid,)
        ).fetchone() or (None,)
        self.connection.execute("INSERT OR IGNORE INTO temp.touched VALUES (?)", (series,))
        self.connection.execute(f"DELETE FROM DICOMImages WHERE {quoted(image[0].column)} = ?", (uid,))
        self.connection.execute("DELETE FROM rules_full WHERE level = 'image' AND key = ?", (uid,))
        others = "DELETE FROM rules_files WHERE SOPInstanceUID = ? RETURNING device, CAST(path AS BLOB), size, mtime_ns"
        return self.connection.execute(others, (uid,)).fetchall()

    def prune(self) -> None:
        """Removes series, studies and patients that `forget` left empty, and says anew which modalities the studies have."""
        touched = "SELECT key FROM temp.touched"
        for level, lower in ((Level.SERIES, Level.IMAGE), (Level.STUDY, Level.SERIES), (Level.PATIENT, Level.STUDY)):
            table, key = TABLES[level], quoted(self.schema.key(level))
            below, link = TABLES[lower], quoted(self.schema.level(lower)[-1].column)
            empty = f"{key} IN ({touched}) AND NOT EXISTS (SELECT 1 FROM {below} WHERE {below}.{link} = {table}.{key})"
            upper = self.connection.execute(
                f"SELECT DISTINCT {quoted(self.schema.level(level)[-1].column)} FROM {table} WHERE {key} IN ({touched})"
            ).fetchall()
            gone = self.connection.execute(f"DELETE FROM {table} WHERE {empty} RETURNING {key}").fetchall()
            self.connection.executemany(f"DELETE FROM rules_full WHERE level = '{level.value}' AND key = ?", gone)
            self.connection.execute("DELETE FROM temp.touched")
            self.connection.executemany("INSERT OR IGNORE INTO temp.touched VALUES (?)", upper)
            if level is Level.SERIES:
                self._rows.say_modalities(self.connection, [study for (study,) in upper])
        self.connection.execute("DELETE FROM temp.touched")

    def reject(self, device: str, file: File, reason: str) -> Outcome:
        """Notes a file that is not, or not readable as, an instance."""
        outcome = Outcome("rejected", reason)
        self._note(device, file, outcome, None)
        return outcome

    def add(self, device: str, root: Path, file: File, header: Header) -> Outcome:
        """Puts an instance into the index. One with its SOPInstanceUID that is there already stays."""
        outcome = self._clash(device, root, file, header.SOPInstanceUID) or Outcome("indexed")
        if outcome.outcome == "indexed":
            self._rows.write(self.connection, header, device, file)
        self._note(device, file, outcome, header)
        return outcome

    def _note(self, device: str, file: File, outcome: Outcome, header: Header | None) -> None:
        uid, syntax = (header.SOPInstanceUID, header.TransferSyntaxUID) if header else (None, None)
        self.connection.execute(
            "INSERT OR REPLACE INTO rules_files VALUES (?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, NULL)",
            (device, file.path, file.size, file.mtime_ns, outcome.outcome, outcome.reason, uid, syntax),
        )

    def _clash(self, device: str, root: Path, file: File, uid: str) -> Outcome | None:
        """`duplicate` or a rejection where another file holds this instance already; None where none does."""
        there = self.connection.execute(
            "SELECT f.device, CAST(f.path AS BLOB), s.path FROM rules_files f JOIN rules_sources s USING (device)"
            " WHERE f.SOPInstanceUID = ? AND f.outcome = 'indexed'",
            (uid,),
        ).fetchone()
        if there is None or (there[0], there[1]) == (device, file.path):
            return None
        first = os.path.join(os.fsencode(there[2]), there[1])
        same = _same_bytes(first, os.path.join(os.fsencode(root), file.path))
        return Outcome("duplicate", "same-bytes") if same else Outcome("rejected", "conflict")


def _same_bytes(first: bytes, second: bytes) -> bool:
    try:
        if os.stat(first).st_size != os.stat(second).st_size:
            return False
        with open(first, "rb") as one, open(second, "rb") as other:
            return file_digest(one, "sha256").digest() == file_digest(other, "sha256").digest()
    except OSError:
        return False


def _connect(database: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(database, timeout=BUSY_SECONDS, isolation_level=None)
        connection.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.Error as error:
        raise DatabaseError(f"cannot open the index {database}: {error}") from None
    connection.text_factory = text_of
    return connection


def _own(connection: sqlite3.Connection, database: Path) -> None:
    """Raises DatabaseError for a database that somebody else made: nothing of it is to be changed."""
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if names and "rules_index" not in names:
        raise DatabaseError(
            f"{database} is a database, but not an index of pyconquest-rules; name another one as [index] database"
        )


def _prepare(connection: sqlite3.Connection, schema: Schema) -> None:
    """Makes the tables of a new index, and makes an index of another schema anew: it is a cache. Sources keep their devices."""
    sources = []
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'rules_index'").fetchone():
        row = connection.execute("SELECT value FROM rules_index WHERE key = 'schema'").fetchone()
        if row and row[0] == schema.fingerprint:
            return
        sources = connection.execute("SELECT device, name, CAST(path AS BLOB) FROM rules_sources").fetchall()
        _drop_all(connection)
    for statement in statements(schema):
        connection.execute(statement)
    connection.executemany("INSERT INTO rules_sources VALUES (?, ?, CAST(? AS TEXT))", sources)
    connection.execute("INSERT INTO rules_index VALUES ('schema', ?)", (schema.fingerprint,))


def _drop_all(connection: sqlite3.Connection) -> None:
    mine = "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'table') AND name NOT LIKE 'sqlite_%' ORDER BY type DESC"
    for kind, name in connection.execute(mine).fetchall():
        connection.execute(f"DROP {kind} {quoted(name)}")
