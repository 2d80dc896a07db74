"""Runs of `index`, and the rows of the database."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.conftest import Done, Workplace

CHANGES_WITH_TIME = {"AccessTime", "DatabaseTimeStamp"}


def index(workplace: Workplace, *arguments: str) -> Done:
    return workplace.run("index", "--json", *arguments)


def counts(done: Done) -> dict[str, int]:
    """The counts of a summary that are not nought."""
    return {name: number for name, number in done.summary.items() if isinstance(number, int) and number}


def rows(workplace: Workplace, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(workplace.folder / "conquest.db")) as connection:
        connection.text_factory = lambda stored: stored.decode("utf-8", "surrogateescape")
        return connection.execute(sql).fetchall()


def dump(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, without what only the clock says."""
    with closing(sqlite3.connect(database)) as connection:
        connection.text_factory = bytes
        names = [name.decode() for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for name in sorted(names):
            columns = [column.decode() for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))]
            kept = ", ".join(f'"{column}"' for column in sorted(columns) if column not in CHANGES_WITH_TIME)
            found[name] = sorted(connection.execute(f"SELECT {kept} FROM {name}").fetchall(), key=repr)
        return found


def stored(workplace: Workplace, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query by SQLite alone: the views need nothing of ours."""
    with closing(sqlite3.connect(workplace.folder / "conquest.db")) as connection:
        return connection.execute(sql).fetchall()
