"""Reading an index without a rules file."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from pyconquest_rules.index.query import sql
from pyconquest_rules.index.store.read_only import open_read_only


class Index:
    """The reading side of an index, or of a database that a Conquest server or pyconquest created."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    @classmethod
    def open(cls, path: str | Path) -> "Index":
        """Open the index in a file, read-only. Raises DatabaseError if the file is not a database or does not exist."""
        return cls(open_read_only(Path(path)))

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def query(self, text: str, params: Mapping[str, sql.Value] | None = None) -> Iterator[dict[str, sql.Value]]:
        """Yield the rows of one SELECT, each by column. Raises Mistake if it is invalid, writes, or takes too long."""
        names, rows = sql.rows(self.connection, text, params or {})
        with closing(rows):
            for row in rows:
                yield dict(zip(names, row, strict=True))
