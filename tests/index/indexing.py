"""Runs of `index`, and the rows of the database."""

import base64
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.conftest import Done, Workplace

CHANGES_WITH_TIME = {"AccessTime", "DatabaseTimeStamp"}

RULES = """
[sources.archive]
path = "data"
exclude = ["**/.*"]
"""

TWO = """
[sources.first]
path = "a"
[sources.second]
path = "b"
"""


def index(workplace: Workplace, *arguments: str) -> Done:
    return workplace.run("index", "--json", *arguments)


def counts(done: Done) -> dict[str, int]:
    """Return the counts of a summary that are not zero."""
    return {name: number for name, number in done.summary.items() if isinstance(number, int) and number}


def rows(workplace: Workplace, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(workplace.folder / "conquest.db")) as connection:
        connection.text_factory = lambda stored: stored.decode("utf-8", "surrogateescape")
        return connection.execute(sql).fetchall()


def dump(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, without times."""
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
    """Return the rows of a query. Plain SQLite runs it, because the views need no function of this program."""
    with closing(sqlite3.connect(workplace.folder / "conquest.db")) as connection:
        return connection.execute(sql).fetchall()


def sizes(workplace: Workplace) -> list[int]:
    """Return the numbers of rows in the four Conquest tables."""
    tables = ("DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages")
    return [rows(workplace, f"SELECT count(*) FROM {table}")[0][0] for table in tables]


def report(workplace: Workplace, *arguments: str) -> dict[str, tuple[str, str | None]]:
    """Return outcome and reason of each file by its path from the workplace. Every file must be reported once."""
    file = workplace.folder / "report.jsonl"
    index(workplace, "--report", str(file), *arguments)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    paths = [os.path.relpath(base64.b64decode(line["path_b64"]), os.fsencode(workplace.folder)) for line in lines]
    assert len(paths) == len(set(paths))
    return {os.fsdecode(path): (line["outcome"], line["reason"]) for path, line in zip(paths, lines, strict=True)}
