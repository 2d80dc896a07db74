"""`[tables.NAME]`: a CSV file as a table of the index, replaced in one transaction when the file or its description changes."""

import csv
import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from time import time_ns
from typing import TextIO

from pyconquest_rules.disk.named_files import is_inside, open_named
from pyconquest_rules.disk.young import is_young, wait_for_tick
from pyconquest_rules.errors import SourceError
from pyconquest_rules.index.store.budget import Budget
from pyconquest_rules.index.store.schema import quoted

LARGEST = 1 << 30
LONGEST_RECORD, LONGEST_VALUE, LONGEST_INTEGER, MOST_COLUMNS = 1 << 18, 1 << 16, 18, 1000

SUFFIXES = frozenset({".csv", ".tsv"})
WIDE = 4
"""A row with this many columns takes about twice as long as a row with one."""

CACHE_KIB = 32 << 10

DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}


class Type(StrEnum):
    """The type of the values of a column."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A CSV file that becomes a table. `renamed` maps column names of the file to the table; `types` are by names of the table.

    `shown` is the file as the rules name it, `folder` is the folder of the rules file.
    """

    name: str
    file: Path
    shown: str
    delimiter: str
    key: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    types: tuple[tuple[str, Type], ...]
    folder: Path | None = None

    @property
    def shows_columns(self) -> bool:
        """Return whether a hint may name its columns. The first line of a file that is not a table may be a secret."""
        return self.file.suffix.lower() in SUFFIXES and (self.folder is None or is_inside(self.file, self.folder))

    def fingerprint(self) -> str:
        """Return a digest of the description and of the size and mtime of the file. Raises SourceError if there is no file."""
        try:
            status = self.file.stat()
        except OSError as error:
            raise SourceError(f'table "{self.name}": cannot read {self.shown}: {error.strerror}') from None
        if status.st_size > LARGEST:
            raise SourceError(f'table "{self.name}": {self.shown} is larger than {LARGEST} bytes')
        return hashlib.sha256(f"{self!r} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()

    def columns(self) -> tuple[str, ...]:
        """Return the columns, from the first line of the file. Raises SourceError if it names none, or one twice."""
        with self._opened() as file:
            return self._columns(next(self._records(file))[1])

    def rows(self) -> Iterator[tuple[int, list[str | int | float | None]]]:
        """Yield the line number and the values of each row. An empty line has no values; an empty value is NULL.

        Raises SourceError for a row that does not fit the columns.
        """
        with self._opened() as file:
            records = self._records(file)
            columns = self._columns(next(records)[1])
            types = [dict(self.types).get(column, Type.TEXT) for column in columns]
            for line, values in records:
                if values and len(values) != len(columns):
                    raise self.error(line, f"{len(values)} values for {len(columns)} columns")
                if not values:
                    yield line, []
                else:
                    yield line, [self._value(*pair, line) for pair in zip(values, types, strict=True)]

    def _records(self, file: TextIO) -> Iterator[tuple[int, list[str]]]:
        """Yield the line number and the fields of each record, at least one. Raises SourceError if a record is too long."""
        taken = 0

        def lines() -> Iterator[str]:
            nonlocal taken
            while line := file.readline(LONGEST_RECORD + 1):
                taken += len(line)
                if taken > LONGEST_RECORD:
                    raise self.error(reader.line_num + 1, f"a record is longer than {LONGEST_RECORD} characters")
                yield line

        reader = csv.reader(lines(), delimiter=self.delimiter)
        try:
            for values in reader:
                yield reader.line_num, values
                taken = 0
        except UnicodeDecodeError:
            raise self.error(reader.line_num + 1, "this line, or one of the next, is not valid UTF-8") from None
        except csv.Error as error:  # its text has no value of the file
            raise self.error(reader.line_num, f"the line is not valid CSV: {error}") from None
        if not reader.line_num:
            yield 1, []

    def error(self, line: int, what: str) -> SourceError:
        """Return an error about a line. `what` must not have values of the file."""
        return SourceError(f'table "{self.name}": {self.shown}:{line}: {what}')

    def _opened(self) -> TextIO:
        if self.delimiter in '"\r\n':
            raise self.error(1, "the delimiter cannot be a quote or a line end")
        try:
            file = open_named(self.file, self.folder, LARGEST)
            if file.peek(4).startswith(b"PK\x03\x04"):
                file.close()
                raise self.error(1, "it is a workbook, not a CSV file; save it as CSV UTF-8")
            return TextIOWrapper(file, encoding="utf-8-sig", newline="")
        except OSError as error:
            raise SourceError(f'table "{self.name}": cannot read {self.shown}: {error.strerror}') from None

    def _columns(self, names: Sequence[str]) -> tuple[str, ...]:
        if len(names) == 1 and (others := [each for each in DELIMITERS if each in names[0] and each != self.delimiter]):
            written = others[0].replace("\t", "\\t")
            raise self.error(
                1, f'the first line has {DELIMITERS[others[0]]} between names; add delimiter = "{written}" to the table'
            )
        columns = tuple(dict(self.renamed).get(name.strip(), name.strip()) for name in names)
        if not columns or not all(columns) or len({column.lower() for column in columns}) < len(columns):
            raise self.error(1, "the first line must name every column, each once")
        if len(columns) > MOST_COLUMNS:
            raise self.error(1, f"there are more than {MOST_COLUMNS} columns")
        for wanted in (*self.key, *dict(self.types)):
            if wanted not in columns:
                raise self.error(1, f'there is no column "{wanted}"')
        return columns

    def _value(self, text: str, type_: Type, line: int) -> str | int | float | None:
        text = text.strip()
        if len(text) > LONGEST_VALUE:
            raise self.error(line, f"a value is longer than {LONGEST_VALUE} characters")
        try:
            if type_ is Type.INTEGER and len(text) > LONGEST_INTEGER:
                raise ValueError
            return None if not text else int(text) if type_ is Type.INTEGER else float(text) if type_ is Type.REAL else text
        except ValueError:
            raise self.error(line, f"a value is not of type {type_}") from None


def bring_up_to_date(
    connection: sqlite3.Connection, tables: Sequence[CsvTable], transaction: Callable[[], AbstractContextManager[None]]
) -> None:
    """Load the tables whose file or description changed, each in one transaction. Remove tables that the rules no longer have.

    Raises SourceError if a file cannot be read, a row does not fit, or a key is empty or repeated.
    """
    known = dict(connection.execute("SELECT name, fingerprint FROM rules_tables"))
    changed = [(table, found) for table in tables if known.pop(table.name, None) != (found := table.fingerprint())]
    with _bounded(connection) as budget:
        rows = budget.table_rows
        for table, fingerprint in changed:
            mtime_ns, began = table.file.stat().st_mtime_ns, time_ns()
            wait_for_tick([mtime_ns])
            with transaction():
                # A young file is read again next time, because its mtime may not show another change.
                kept = "young" if is_young(mtime_ns, began, time_ns()) else fingerprint
                rows -= _load(connection, table, kept, rows)
    for name in known:
        with transaction():
            connection.execute(f"DROP TABLE IF EXISTS {quoted(name)}")
            connection.execute("DELETE FROM rules_tables WHERE name = ?", (name,))


@contextmanager
def _bounded(connection: sqlite3.Connection) -> Iterator[Budget]:
    """Limit the growth of the index in this context to its budget for tables. Raises SourceError if it would be exceeded."""
    page, pages, most, cache = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_size", "page_count", "max_page_count", "cache_size")
    )
    budget = Budget.of(connection)
    connection.execute(f"PRAGMA max_page_count = {pages + budget.tables // page}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")  # else unordered rows rewrite the same pages again and again
    try:
        yield budget
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        raise SourceError(
            f"the tables of the rules take more than {budget.tables >> 20} MiB, or the disk of the index is full"
        ) from None
    finally:
        connection.execute(f"PRAGMA max_page_count = {most}")
        connection.execute(f"PRAGMA cache_size = {cache}")


def _load(connection: sqlite3.Connection, table: CsvTable, fingerprint: str, most: int) -> int:
    """Load a table from its file. Return its number of rows, which may be at most `most`. Wide rows count several times."""
    columns = table.columns()
    typed = [f"{quoted(column)} {dict(table.types).get(column, Type.TEXT)}" for column in columns]
    key = f", PRIMARY KEY ({', '.join(map(quoted, table.key))})" if table.key else ""
    connection.execute(f"DROP TABLE IF EXISTS {quoted(table.name)}")
    connection.execute(f"CREATE TABLE {quoted(table.name)} ({', '.join(typed)}{key})")
    insert = f"INSERT INTO {quoted(table.name)} VALUES ({', '.join('?' * len(columns))})"
    places = [columns.index(name) for name in table.key]
    taken = 0
    for line, values in table.rows():
        taken += 1 + len(values) // WIDE
        if taken > most:
            raise table.error(line, "the tables of the rules have too many rows together")
        if not values:
            continue
        if any(values[place] is None for place in places):
            raise table.error(line, "a key is empty")
        try:
            connection.execute(insert, values)
        except sqlite3.IntegrityError:
            raise table.error(line, "a key is repeated") from None
    connection.execute("INSERT OR REPLACE INTO rules_tables VALUES (?, ?)", (table.name, fingerprint))
    return taken
