"""Writing the rows of a query to a file: CSV, JSON lines or Parquet."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import TextIOWrapper
from itertools import islice
from typing import BinaryIO, TextIO

from pyconquest_rules.errors import UsageError

Value = str | int | float | bool | None
Rows = Iterator[tuple[Value, ...]]

BATCH = 10_000


class Format(StrEnum):
    """The format of a file."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


SUFFIXES = {".csv": Format.CSV, ".json": Format.JSON, ".jsonl": Format.JSON, ".ndjson": Format.JSON, ".parquet": Format.PARQUET}


def export(columns: Sequence[str], rows: Rows, file: BinaryIO, form: Format) -> int:
    """Write rows to `file` and return their number. Raises UsageError if Parquet cannot be written."""
    if form is Format.PARQUET:
        return _parquet(columns, rows, file)
    text = TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        return (write_csv if form is Format.CSV else _json)(columns, rows, text)
    finally:
        text.detach()


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[Value]], file: TextIO) -> int:
    """Write rows as CSV whose lines end with LF; return their number."""
    writer = csv.writer(_Lines(file))
    writer.writerow(columns)
    return sum(writer.writerow(row) is not None for row in rows)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Ends lines with LF. A csv.writer with that line terminator would not quote a CR, which readers take for a line end."""

    file: TextIO

    def write(self, line: str) -> int:
        return self.file.write(line.removesuffix("\r\n") + "\n")


def _json(columns: Sequence[str], rows: Rows, file: TextIO) -> int:
    return sum(bool(file.write(json.dumps(dict(zip(columns, row, strict=True))) + "\n")) for row in rows)


def _parquet(columns: Sequence[str], rows: Rows, file: BinaryIO) -> int:
    """Write rows as Parquet. The first batch decides the type of each column; a column with values of several types is text."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageError("Parquet needs pyarrow: pip install 'pyconquest-rules[parquet]'") from None
    batch = list(islice(rows, BATCH))
    types = [_type([row[number] for row in batch]) for number in range(len(columns))]
    schema = pyarrow.schema(
        [
            (name, {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}[t])
            for name, t in zip(columns, types, strict=True)
        ]
    )
    number = 0
    with parquet.ParquetWriter(file, schema) as writer:
        while batch:
            converted = [[_as(type_, row[place], columns[place]) for row in batch] for place, type_ in enumerate(types)]
            writer.write_batch(pyarrow.record_batch(converted, schema=schema))
            number += len(batch)
            batch = list(islice(rows, BATCH))
    return number


def _type(values: Sequence[Value]) -> type[int] | type[float] | type[str]:
    kinds = {type(value) for value in values if value is not None}
    return int if kinds == {int} else float if kinds and kinds <= {int, float} else str


def _as(type_: type[int] | type[float] | type[str], value: Value, column: str) -> Value:
    """Return a value in the type of its column. Raises UsageError if it does not have the type that the first rows have."""
    try:
        return None if value is None else type_(value)
    except (ValueError, OverflowError):
        raise UsageError(f'column "{column}" has values of several types; convert them to one with CAST in the query') from None
