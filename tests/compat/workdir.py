"""The working folder of a script: a fast disk, the files in it, the rows of its database."""

import sqlite3
from pathlib import Path
from typing import Any

from pyconquest_rules.compat.pyconquest import pyconquest
from tests.conftest import REPOSITORY

DATA = REPOSITORY / "examples" / "quickstart" / "data"


CT5N = "1.3.6.1.4.1.5962.1.1.0.0.0.1194734704.16302.0.6"


SERIES = "1.2.826.0.1.3680043.10.3.1"


class Hurried(sqlite3.Connection):
    """A connection on which no PRAGMA makes SQLite wait for the disk."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        super().execute("PRAGMA synchronous = OFF")

    def execute(self, query: str, *parameters: Any) -> sqlite3.Cursor:
        return super().execute(query.replace("synchronous = NORMAL", "synchronous = OFF"), *parameters)


def contents(folder: str | Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def number(c: pyconquest, table: str = "dicomimages") -> int:
    rows = c.execute_db_query(f"select count(*) as nr from {table}", return_list_from_col="nr")
    assert rows
    return int(rows[0])
