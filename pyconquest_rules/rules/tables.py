"""`[tables.NAME]`: check the tables of CSV files. The header of each file is read."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pyconquest_rules.errors import Problem, SourceError
from pyconquest_rules.index.query.sql_mistakes import TABLE_NAMES
from pyconquest_rules.index.store.csv_tables import CsvTable
from pyconquest_rules.index.store.schema import quoted
from pyconquest_rules.rules.model import CsvFile
from pyconquest_rules.rules.places import Places


def csv_tables(files: Mapping[str, CsvFile], base: Path, places: Places) -> tuple[CsvTable, ...]:
    """Return the tables in the form that the index needs. Paths are relative to `base`."""
    return tuple(
        CsvTable(
            name,
            base / of.csv,
            places.written(("tables", name, "csv"), of.csv),
            of.delimiter,
            of.key,
            tuple(of.columns.items()),
            tuple(of.types.items()),
            base,
        )
        for name, of in files.items()
    )


def table_problems(tables: Sequence[CsvTable], connection: sqlite3.Connection, places: Places) -> Iterator[Problem]:
    """Yield the problems of tables. Each valid table is created in `connection`, empty, so that queries can be checked."""
    for table in tables:
        place = ("tables", table.name)
        taken = connection.execute(f"SELECT 1 FROM ({TABLE_NAMES}) WHERE lower(name) = ?", (table.name,)).fetchone()
        if taken or table.name.startswith(("sqlite_", "rules_")):
            yield places.at_key(place, f'the index already has a table "{table.name}"', "rename this table")
            continue
        try:
            columns = table.columns()
        except SourceError as error:
            yield places.at_value((*place, "csv"), str(error))
            continue
        connection.execute(f"CREATE TABLE {quoted(table.name)} ({', '.join(map(quoted, columns))})")
