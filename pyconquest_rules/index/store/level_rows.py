"""Writing the rows of one level. The first file of a patient, study or series defines its row."""

import sqlite3
import sys
from enum import Enum
from time import time

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.store.records import Full, Row
from pyconquest_rules.index.store.schema import PYCONQUEST_COLUMNS, TABLES, Schema, quoted

Position = tuple[int, bytes]
"""The position of a file in the order of all files: the number of its source, and its path."""

LAST: Position = (sys.maxsize, b"")


class Written(Enum):
    """What happened to a row: it is new, or it replaced a row that another file had defined."""

    NEW = 1
    REPLACED = 2


class LevelRows:
    """Writes the rows of one level."""

    def __init__(self, schema: Schema, level: Level) -> None:
        self.level, self.fields = level, schema.level(level)
        extra = ["AccessTime"]
        if level is Level.IMAGE:
            extra += ["ObjectFile", "DeviceName", *(name for name, _ in PYCONQUEST_COLUMNS)]
        names = ", ".join([*(quoted(field.column) for field in self.fields), *extra])
        marks = ", ".join(["?"] * len(self.fields) + ["CAST(? AS TEXT)" if name == "ObjectFile" else "?" for name in extra])
        verb, or_update = ("INSERT OR REPLACE", "") if level is Level.IMAGE else ("INSERT", self._or_update())
        self.insert = f"{verb} INTO {TABLES[level]} ({names}) VALUES ({marks}){or_update}"
        self.last_key: str | None = None
        self.last_at = LAST

    def _or_update(self) -> str:
        columns = [quoted(field.column) for field in self.fields]
        values = ", ".join(f"{column} = excluded.{column}" for column in columns[1:] or columns)
        return f" ON CONFLICT ({columns[0]}) DO UPDATE SET {values}"

    def write(self, connection: sqlite3.Connection, row: Row, full: Full, device: str, at: Position) -> Written | None:
        """Write a row above the instances unless an earlier file defines it. Return None if nothing was written."""
        key = row[0] or ""
        if key == self.last_key and at >= self.last_at:
            return None
        self.last_key, self.last_at = key, at
        is_first = connection.execute(
            "INSERT OR IGNORE INTO rules_first VALUES (?, ?, ?, CAST(? AS TEXT))", (self.level.value, key, device, at[1])
        ).rowcount
        if not is_first and not self._take_first(connection, key, device, at):
            return None
        connection.execute(self.insert, (*row, int(time())))
        stale = (
            is_first
            and connection.execute("SELECT 1 FROM rules_stale WHERE level = ? AND key = ?", (self.level.value, key)).fetchone()
        )
        if stale or not is_first:
            connection.execute("DELETE FROM rules_full WHERE level = ? AND key = ?", (self.level.value, key))
        self.keep_full(connection, key, full)
        return Written.REPLACED if stale or not is_first else Written.NEW

    def _take_first(self, connection: sqlite3.Connection, key: str, device: str, at: Position) -> bool:
        """Record a file as the first of a row, if it comes before the recorded one. Return whether it does."""
        there = connection.execute(
            "SELECT s.rank, CAST(f.path AS BLOB) FROM rules_first AS f JOIN rules_sources AS s USING (device)"
            " WHERE f.level = ? AND f.key = ?",
            (self.level.value, key),
        ).fetchone()
        if there and there <= at:
            return False
        update = "UPDATE rules_first SET device = ?, path = CAST(? AS TEXT) WHERE level = ? AND key = ?"
        connection.execute(update, (device, at[1], self.level.value, key))
        return True

    def keep_full(self, connection: sqlite3.Connection, key: str, full: Full) -> None:
        """Keep the full text of values that the columns have cut or changed."""
        for name, text in full:
            connection.execute("INSERT OR REPLACE INTO rules_full VALUES (?, ?, ?, ?)", (self.level.value, key, name, text))
