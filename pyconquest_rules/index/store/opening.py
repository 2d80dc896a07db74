"""Opening an index to write it: check whose file it is, connect, and create or update its tables."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.index.store import databases, owner
from pyconquest_rules.index.store.decisions import DecisionsFile
from pyconquest_rules.index.store.intact import check_objects, check_owner, drop, has_own_tables, is_intact, restore
from pyconquest_rules.index.store.migration import alter, described
from pyconquest_rules.index.store.obeying import keep
from pyconquest_rules.index.store.read_only import text_of
from pyconquest_rules.index.store.schema import Schema
from pyconquest_rules.index.store.tables import statements

BUSY_SECONDS = 60


def open_index(database: Path, schema: Schema, rules: Path | None, decisions: DecisionsFile | None) -> sqlite3.Connection:
    """Return a connection to an index that has the tables of a schema. The index is created if it does not exist.

    Decisions that only the index has are written to their file first, as the tables may be rebuilt.

    Raises DatabaseError if the file is not an index of this program or belongs to another rules file, UsageError if the
    decisions are invalid.
    """
    check_owner(database)
    is_new = not database.exists()
    connection = _connect(database)
    try:
        if is_new:  # this process wrote every page itself; to check each takes a tenth of the time
            connection.execute("PRAGMA cell_size_check = OFF")
        check_objects(connection, database)
        if rules and schema_fingerprint(connection) is not None:
            owner.check(connection, database, rules)
        if decisions:
            keep(connection, decisions)
        _prepare(connection, schema, database)
        if rules and owner.is_anybodys(connection):
            owner.claim(connection, database, rules)
    except sqlite3.Error as error:
        connection.close()
        raise unusable(database, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def unusable(database: Path, error: sqlite3.Error) -> DatabaseError:
    """Return the error to raise when SQLite fails on an index."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
        return DatabaseError(f"the index {database} is locked by another program; end that program, or try again later")
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
        return DatabaseError(f"the index {database} cannot be written; check the permissions of the file and its folder")
    return DatabaseError(f"cannot use the index {database}: {error}; it is a cache: if it is damaged, delete it and index again")


@contextmanager
def immediate(connection: sqlite3.Connection) -> Iterator[None]:
    """Run a transaction that locks the database from its beginning. It is rolled back if the block raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # SQLite itself ends a transaction when the disk is full
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def data_version(connection: sqlite3.Connection) -> int:
    """Return a number that changes when another connection writes."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def schema_fingerprint(connection: sqlite3.Connection) -> str | None:
    """Return the fingerprint of the schema that the index has; None if the database has no index yet."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'rules_index'").fetchone():
        return None
    row = connection.execute("SELECT value FROM rules_index WHERE key = 'schema'").fetchone()
    return str(row[0]) if row else ""


def _connect(database: Path) -> sqlite3.Connection:
    try:
        connection = databases.connect(database, timeout=BUSY_SECONDS)
    except sqlite3.Error as error:
        raise DatabaseError(f"cannot open the index {database}: {error}") from None
    connection.text_factory = text_of
    return connection


def _prepare(connection: sqlite3.Connection, schema: Schema, database: Path) -> None:
    """Create the tables, or update those of another schema: in place if possible, else they are rebuilt, empty.

    Sources always keep their devices.
    """
    wal = databases.may_use_wal(database)
    _use_journal(connection, "WAL" if wal else "DELETE")
    # Without WAL, a power failure at the wrong moment could damage the database (https://sqlite.org/pragma.html).
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if wal else 'FULL'}")
    connection.execute("CREATE TEMP TABLE touched (level TEXT, key TEXT, PRIMARY KEY (level, key)) WITHOUT ROWID")
    files = "(device TEXT, path BLOB, size INT, mtime_ns INT, PRIMARY KEY (device, path)) WITHOUT ROWID"
    connection.execute(f"CREATE TEMP TABLE to_define {files}")
    if schema_fingerprint(connection) == schema.fingerprint and is_intact(connection, schema):
        return  # without waiting for another writer
    with immediate(connection):
        fingerprint, sources = schema_fingerprint(connection), []
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
    """Set the journal mode. SQLite itself would not wait for another process that creates the same database."""
    end = monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode = {mode}")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > end:
                raise
        sleep(0.01)


def _remember(connection: sqlite3.Connection, schema: Schema) -> None:
    """Record the schema that the index has."""
    values = {"schema": schema.fingerprint, "columns": described(schema)}
    connection.executemany("INSERT OR REPLACE INTO rules_index VALUES (?, ?)", values.items())
