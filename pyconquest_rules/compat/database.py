"""The index behind a `pyconquest`: made where there is none, never taken from somebody else, and open to the script's SQL."""

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

# What SQLite says may quote the query, and with it a patient. Of these words the first that it says is told.
SAYINGS = (
    *("no such table", "no such column", "no such function", "no such view", "already exists", "duplicate column name"),
    *("ambiguous column name", "UNIQUE constraint failed", "syntax error", "incomplete input", "one statement at a time"),
    *("closed database", "not authorized", "prohibited", "is locked", "readonly", "is not a database", "malformed", "full"),
    *("cannot modify", "values for", "has no column"),
)


class Database:
    """An index, the columns that it has, and the connection on which scripts run their SQL."""

    def __init__(self, file: Path, design: Design) -> None:
        """Opens the index, or makes it for `design`. Raises DatabaseError where the file is not an index of ours."""
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
        """The files of the data directory that the index knows, from its root: as it is now, also while it is made anew."""
        with closing(open_read_only(self.file)) as connection:
            rows = connection.execute(
                "SELECT CAST(f.path AS BLOB) FROM rules_files AS f JOIN rules_sources AS s USING (device)"
                " WHERE s.name = ? AND f.outcome != 'skipped' ORDER BY f.device, f.path",
                (SOURCE,),
            )
            yield (path for (path,) in rows)

    def make_anew(self, design: Design) -> None:
        """Makes the tables of the index anew, empty. The script's own tables stay."""
        with closing(sqlite3.connect(self.file, timeout=BUSY_SECONDS)) as connection, connection:
            # Without a word of its columns the index cannot be altered, and is made anew.
            connection.execute("DELETE FROM rules_index WHERE key = 'columns'")
            connection.execute("UPDATE rules_index SET value = '' WHERE key = 'schema'")
        self.change(design)

    def change(self, design: Design) -> None:
        """Gives the index the columns of a design, and remembers it."""
        self.design = design
        with self.store() as store, store.transaction():
            store.connection.execute("INSERT OR REPLACE INTO rules_index VALUES ('pyconquest', ?)", (design.to_json(),))

    def is_made_for(self, design: Design) -> bool:
        """Whether the index has these columns, in the format of this version."""
        with closing(open_read_only(self.file)) as connection:
            made = connection.execute("SELECT value FROM rules_index WHERE key = 'schema'").fetchone()
        return bool(made == (design.schema.fingerprint,))

    def store(self) -> Store:
        """The writing side of the index."""
        return Store(self.file, self.design.schema)

    def own(self) -> frozenset[bytes]:
        """The real paths of the database's files, which may lie in the data directory."""
        file = os.path.realpath(self.file)
        return frozenset(os.fsencode(file + end) for end in ("", "-wal", "-shm", "-journal"))

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Runs one statement and gives its rows. Raises sqlite3.Error or sqlite3.Warning."""
        with self.connection:  # commits, or rolls back
            cursor = self.connection.execute(query, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]


def _known(file: Path, design: Design) -> Design | None:
    """The design of the index that is there, if any. Raises DatabaseError where it is none of ours, or has other columns."""
    if not file.exists():
        return None
    with closing(open_read_only(file)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not names:
            return None
        if "rules_index" not in names:
            raise DatabaseError(
                f"{file} was not made by pyconquest_rules and is left as it is; move it away or give another database_filename,"
                " then rebuild_database_from_dicom() fills a new one from the files"
            )
        kept = dict(connection.execute("SELECT key, value FROM rules_index"))
    if "pyconquest" in kept:
        return Design.from_json(kept["pyconquest"])
    if kept.get("schema") != design.schema.fingerprint:
        raise DatabaseError(f"{file} is the index of a rules file with other columns; give another database_filename")
    return design


def saying(error: Exception) -> str:
    """What SQLite says of an error, without anything of the query."""
    if isinstance(error, UsageError):
        return str(error)
    return next((said for said in SAYINGS if said in str(error)), type(error).__name__)


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    """Lets a script do what it likes with its own tables and the rows of Conquest's, and nothing with what the index needs."""
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
