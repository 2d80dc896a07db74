"""An index to read, without any rules file."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from pyconquest_rules.index.query import sql
from pyconquest_rules.index.store.read_only import open_read_only


class Index:
    """The reading side of an index, or of any database in Conquest's layout, as a Conquest server or pyconquest made it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    @classmethod
    def open(cls, path: str | Path) -> "Index":
        """The index in a file; nothing of it can be changed. Raises DatabaseError where there is none."""
        return cls(open_read_only(Path(path)))

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the reading."""
        self.connection.close()

    def query(self, text: str, params: Mapping[str, sql.Value] | None = None) -> Iterator[dict[str, sql.Value]]:
        """The rows of one SELECT, each by column. Raises Mistake where it is wrong, writes, or never ends."""
        names, rows = sql.rows(self.connection, text, params or {})
        with closing(rows):
            for row in rows:
                yield dict(zip(names, row, strict=True))
