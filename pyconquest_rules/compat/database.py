"""The index of a script: created if missing, never written to another program's file, and open to the script's SQL."""

import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pyconquest_rules.compat.design import Design
from pyconquest_rules.compat.indexing import SOURCE
from pyconquest_rules.errors import DatabaseError, UsageError
from pyconquest_rules.index.store.opening import BUSY_SECONDS
from pyconquest_rules.index.store.read_only import open_read_only, text_of
from pyconquest_rules.index.store.schema import TABLES, VIEWS
from pyconquest_rules.index.store.store import Store

log = logging.getLogger("pyconquest")

CONQUEST_TABLES = frozenset(name.lower() for name in (*TABLES.values(), "DICOMWorkList", "UIDMODS"))
OUR_VIEWS = frozenset((*VIEWS.values(), "referenced", "referenced_instances", "contradictions", "files"))

# SQLite quotes the query in its messages, and with it patient data. Only these words of a message are shown.
SAFE_WORDS = (
    *("no such table", "no such column", "no such function", "no such view", "already exists", "duplicate column name"),
    *("ambiguous column name", "UNIQUE constraint failed", "syntax error", "incomplete input", "one statement at a time"),
    *("closed database", "not authorized", "prohibited", "is locked", "readonly", "is not a database", "malformed", "full"),
    *("cannot modify", "values for", "has no column"),
)


class Database:
    """An index, the columns that it has, and the connection on which scripts run their SQL."""

    def __init__(self, file: Path, design: Design) -> None:
        """Open the index, or create it for `design`. Raises DatabaseError if the file is not an index of this package."""
        self.file = file.absolute()
        known = _known(self.file, design)
        self.design = known or design
        if known is None:
            self.change(design)
        self.connection = sqlite3.connect(self.file, timeout=BUSY_SECONDS)
        self.connection.text_factory = text_of
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.set_authorizer(_authorize)

    @contextmanager
    def paths(self) -> Iterator[Iterator[bytes]]:
        """Open a snapshot of the paths of all files of the data directory in the index, relative to its root."""
        with closing(open_read_only(self.file)) as connection:
            rows = connection.execute(
                "SELECT CAST(f.path AS BLOB) FROM rules_files AS f JOIN rules_sources AS s USING (device)"
                " WHERE s.name = ? AND f.outcome != 'skipped' ORDER BY f.device, f.path",
                (SOURCE,),
            )
            yield (path for (path,) in rows)

    def recreate(self, design: Design) -> None:
        """Recreate the tables of the index, empty. The script's own tables stay."""
        with closing(sqlite3.connect(self.file, timeout=BUSY_SECONDS)) as connection, connection:
            # An index without a record of its columns cannot be altered and is recreated.
            connection.execute("DELETE FROM rules_index WHERE key = 'columns'")
            connection.execute("UPDATE rules_index SET value = '' WHERE key = 'schema'")
        self.change(design)

    def change(self, design: Design) -> None:
        """Give the index the columns of a design, and record the design in it."""
        self.design = design
        with self.store() as store, store.transaction():
            store.connection.execute("INSERT OR REPLACE INTO rules_index VALUES ('pyconquest', ?)", (design.to_json(),))

    def is_made_for(self, design: Design) -> bool:
        """Return whether the index has these columns, in the format of this version."""
        with closing(open_read_only(self.file)) as connection:
            made = connection.execute("SELECT value FROM rules_index WHERE key = 'schema'").fetchone()
        return bool(made == (design.schema.fingerprint,))

    def store(self) -> Store:
        """Open the index for writing."""
        return Store(self.file, self.design.schema)

    def own(self) -> frozenset[bytes]:
        """Return the real paths of the files of the database, which may be in the data directory."""
        file = os.path.realpath(self.file)
        return frozenset(os.fsencode(file + end) for end in ("", "-wal", "-shm", "-journal"))

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Run one statement and return its rows. Raises sqlite3.Error or sqlite3.Warning."""
        with self.connection:  # commits, or rolls back
            cursor = self.connection.execute(query, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]


def _known(file: Path, design: Design) -> Design | None:
    """Return the design of the existing index, or None. Raises DatabaseError for another file, or other columns."""
    if not file.exists():
        return None
    with closing(open_read_only(file)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not names:
            return None
        if "rules_index" not in names:
            raise DatabaseError(
                f"{file} was not made by pyconquest_rules; move it away or give another database_filename,"
                " then rebuild_database_from_dicom() fills a new one from the files"
            )
        kept = dict(connection.execute("SELECT key, value FROM rules_index"))
    if "pyconquest" in kept:
        return Design.from_json(kept["pyconquest"])
    if kept.get("schema") != design.schema.fingerprint:
        raise DatabaseError(f"{file} is the index of a rules file with other columns; give another database_filename")
    return design


def explained(error: Exception) -> str:
    """Return the message of an SQLite error without any text of the query."""
    if isinstance(error, UsageError):
        return str(error)
    return next((words for words in SAFE_WORDS if words in str(error)), type(error).__name__)


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    """Allow a script to change its own tables and the rows of Conquest's tables, but not the internal tables of the index."""
    name = (first or "").lower()
    table = (second or "").lower()
    match action:
        case sqlite3.SQLITE_INSERT | sqlite3.SQLITE_UPDATE | sqlite3.SQLITE_DELETE:
            denied = _is_ours(name) and not (trigger or "").startswith("rules_")
        case sqlite3.SQLITE_CREATE_TABLE:
            denied = name.startswith("rules_")
        case sqlite3.SQLITE_DROP_TABLE:
            denied = _is_ours(name) or name in CONQUEST_TABLES
        case sqlite3.SQLITE_DROP_VIEW:
            denied = name in OUR_VIEWS
        case sqlite3.SQLITE_DROP_TRIGGER | sqlite3.SQLITE_CREATE_TRIGGER | sqlite3.SQLITE_CREATE_TEMP_TRIGGER if name.startswith(
            "rules_"
        ):
            denied = True
        case sqlite3.SQLITE_ALTER_TABLE | sqlite3.SQLITE_DROP_INDEX | sqlite3.SQLITE_CREATE_INDEX | sqlite3.SQLITE_CREATE_TRIGGER:
            denied = _is_ours(table)
        case sqlite3.SQLITE_PRAGMA:
            denied = bool(re.fullmatch(r"writable_schema|journal_mode", name)) and second is not None
        case _:
            denied = False
    return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK


def _is_ours(table: str) -> bool:
    return table.startswith("rules_") or table == "geometry"
