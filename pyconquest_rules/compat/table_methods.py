"""The methods that fill the script's own tables from dicts and CSV files."""

import csv
import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyconquest_rules.compat import own_tables
from pyconquest_rules.compat.connection import Connection
from pyconquest_rules.compat.database import explained

log = logging.getLogger("pyconquest")


class TableMethods(Connection):
    """The part of `pyconquest` that creates and fills the script's own tables."""

    def insert_dict(
        self,
        tablename: str,
        datadict: Mapping[str, Any],
        exceptions: Mapping[str, str] = {},
        default_format: str = own_tables.DEFAULT_FORMAT,
    ) -> None:
        """Insert a row. If the table does not exist, create it with a column for each key."""
        try:
            self._insert(tablename, datadict, exceptions, default_format)
        except sqlite3.Error as error:
            log.error("a row was not inserted: %s", explained(error))

    def _insert(self, table: str, row: Mapping[str, Any], formats: Mapping[str, str], default: str) -> None:
        database, (query, values) = self._opened(), own_tables.insert(table, row)
        try:
            database.rows(query, values)
        except sqlite3.OperationalError as error:
            if not str(error).startswith("no such table"):
                raise
            database.rows(own_tables.build_query(table, row, formats, default))
            database.rows(query, values)

    def load_csv_to_table(
        self,
        filename: str,
        tablename: str,
        first_row_are_columnnames: bool = True,
        key_translation: Mapping[str, str] = {},
        delimiter: str = ";",
    ) -> None:
        """Insert the rows of a CSV file. Its first line has the column names; `key_translation` renames them."""
        try:
            number = 0
            for row in own_tables.csv_rows(Path(filename), key_translation, delimiter):
                self.insert_dict(tablename, row)
                number += 1
            log.info("%d rows of a CSV file inserted", number)
        except OSError as error:
            log.error("a CSV file cannot be read: %s", error.strerror)
        except csv.Error as error:
            log.error("a CSV file cannot be read completely: %s", error)
        except UnicodeDecodeError:
            log.error("a CSV file cannot be read completely: it is not UTF-8")

    def create_insertquery(self, table: str, myDict: Mapping[str, Any]) -> str:
        """Return the INSERT of one row with literal values."""
        return own_tables.insert_query(table, myDict)

    def create_buildquery(
        self,
        table: str,
        mydict: Mapping[str, Any],
        exceptions: Mapping[str, str] = {},
        default_format: str = own_tables.DEFAULT_FORMAT,
    ) -> str:
        """Return the CREATE TABLE with a column for each key. `exceptions` are the types that differ from the default."""
        return own_tables.build_query(table, mydict, exceptions, default_format)
