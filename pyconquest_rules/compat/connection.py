"""The database of a script: open it, run SQL, add columns, write the index."""

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any

from pyconquest_rules.compat.database import Database, explained
from pyconquest_rules.compat.design import Design, column
from pyconquest_rules.compat.indexing import refill
from pyconquest_rules.errors import SourceError, UsageError
from pyconquest_rules.index.store.store import Store

log = logging.getLogger("pyconquest")


class Connection:
    """The part of `pyconquest` that opens the database and runs SQL on it."""

    def __init__(
        self,
        data_directory: str = "data",
        sql_inifile_name: str = "dicom.sql",
        database_filename: str = "conquest.db",
        connect_and_read_sql: bool = True,
        loglevel: str = "ERROR",
        compute_hash: bool = False,
    ) -> None:
        """With `connect_and_read_sql`, call `connect_db()`. `loglevel` (of the log on standard error) is ERROR, INFO or DEBUG."""
        self.data_directory, self.database_filename = data_directory, database_filename
        self.sql_inifile_name = sql_inifile_name
        self.last_seriesuid_loaded = ""
        self._compute_hash = compute_hash
        self._created = monotonic()
        self._database: Database | None = None
        self._design: Design | None = None
        self._store: Store | None = None
        _set_level(loglevel)
        if connect_and_read_sql:
            self.connect_db()

    def connect_db(self) -> None:
        """Open the database, and create its tables if it is new. Raises DatabaseError if another program made the file."""
        self._database = Database(Path(self.database_filename), self._designed())
        log.info("connected")

    @property
    def conn_pacs(self) -> sqlite3.Connection:
        """Return the SQLite connection of `execute_db_query`."""
        return self._opened().connection

    def close_db(self) -> None:
        """Close the database."""
        self.conn_pacs.close()
        log.info("closed after %.1f seconds", monotonic() - self._created)

    def execute_db_query(self, query: str, return_list_from_col: str | None = None) -> list[Any] | None:
        """Run one SQL statement. Return its rows as dicts, or the values of one column; None, with an error log, if it fails."""
        try:
            rows = self._opened().rows(query)
        except (sqlite3.Error, sqlite3.Warning, UsageError) as error:
            log.error("a query failed: %s", explained(error))
            return None
        log.debug("a query returned %d rows", len(rows))
        return rows if return_list_from_col is None else [row[return_list_from_col] for row in rows]

    def add_column_to_database(self, tablename: str, column_definition: Sequence[Any]) -> None:
        """Add columns, for example `["0x0020", "0x000e", "SeriesInst"]`. The next write of the index creates them."""
        several = column_definition if isinstance(column_definition[0], list | tuple) else [column_definition]
        for definition in several:
            try:
                self._design = self._designed().with_column(column(tablename, definition))
            except UsageError as error:
                log.error("failed to add a column: %s", error)

    def create_standard_dicom_tables(self) -> None:
        """Recreate the tables of the index, empty, with the columns of `dicom.sql` and the added ones."""
        self._opened().recreate(self._designed())

    def _designed(self) -> Design:
        if self._design is None:
            self._design = Design.of(self.sql_inifile_name)
        return self._design

    def _opened(self) -> Database:
        if self._database is None:
            raise UsageError("the database is not open; call connect_db() first")
        return self._database

    def _root(self) -> Path:
        return Path(os.path.realpath(self.data_directory))

    @contextmanager
    def _writing(self) -> Iterator[Store]:
        """Open the index for writing. If columns were added, first fill them from the files of the index.

        A nested call returns the same store.
        """
        if self._store is not None:
            yield self._store
            return
        database = self._opened()
        wanted = database.design
        for added in self._designed().added:
            wanted = wanted if added in wanted.added else wanted.with_column(added)
        if not database.is_made_for(wanted):
            self._change(database, wanted)
        with database.store() as store:
            self._store = store
            try:
                yield store
            finally:
                self._store = None

    def _change(self, database: Database, design: Design) -> None:
        with database.paths() as paths:
            first = next(paths, None)
            if first is not None and not self._root().is_dir():
                raise SourceError("cannot fill new columns: the data directory is missing")
            database.change(design)
            if first is not None:
                with database.store() as store:
                    refill(store, self._root(), chain([first], paths))


def _set_level(loglevel: str) -> None:
    if loglevel in ("ERROR", "INFO", "DEBUG"):
        log.setLevel(loglevel)
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)-5s %(asctime)s [%(funcName)s] %(message)s"))
        log.addHandler(handler)
