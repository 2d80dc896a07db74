"""Opening an index read-only. SQL functions that could run for very long are replaced."""

import sqlite3
from pathlib import Path

from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.index.derived.roi import roi_match
from pyconquest_rules.index.store import databases, sql_functions

WAITING = 30.0


def open_read_only(database: Path, *, untouched: bool = False) -> sqlite3.Connection:
    """Return a read-only connection to an index. Raises DatabaseError if it does not exist or cannot be opened.

    With `untouched`, SQLite creates no file beside it either, unless another process is writing.
    """
    try:
        try:
            connection = _connected(database, untouched=untouched)
        except sqlite3.OperationalError as error:
            if untouched or error.sqlite_errorcode != databases.READONLY_ROLLBACK or not databases.roll_back(database, WAITING):
                raise
            connection = _connected(database, untouched=untouched)
    except sqlite3.Error as error:
        hint = (
            "" if isinstance(error, sqlite3.OperationalError) else "; it is a cache: if it is damaged, delete it and index again"
        )
        raise DatabaseError(f"cannot open the index {database}: {error}{hint}") from None
    connection.text_factory = text_of
    return connection


def _connected(database: Path, *, untouched: bool) -> sqlite3.Connection:
    connection = databases.connect(database, read_only=True, untouched=untouched, timeout=WAITING)
    try:
        set_up(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def set_up(connection: sqlite3.Connection) -> None:
    """Set limits and functions. The first use of a table-valued function sets it up, which `guarded` would deny later."""
    connection.execute(f"PRAGMA hard_heap_limit = {databases.MOST_MEMORY}")
    connection.execute("SELECT 1 FROM sqlite_master, json_each('[]'), json_tree('[]')")
    for arguments in (2, 3):
        connection.create_function("roi_match", arguments, roi_match, deterministic=True)
    sql_functions.set_up(connection)


def limit_temporary(connection: sqlite3.Connection, most: int) -> None:
    """Limit the size of all temporary tables of a connection, in bytes."""
    (size,) = connection.execute("PRAGMA temp.page_size").fetchone()
    connection.execute(f"PRAGMA temp.max_page_count = {most // size}")


def text_of(stored: bytes) -> str:
    """Return text of a database, even if its bytes are not UTF-8: paths, and rows that a Conquest server wrote."""
    return stored.decode("utf-8", "surrogateescape")
