"""Create and fill the script's own tables from dicts and CSV files."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyconquest_rules.index.store.schema import quoted

DEFAULT_FORMAT = "character varying(128)"


def insert_query(table: str, row: Mapping[str, Any]) -> str:
    """Return the INSERT of one row with literal values."""
    return f"INSERT INTO {_name(table)} ({_names(row)}) VALUES ({','.join(map(_literal, row.values()))})"


def insert(table: str, row: Mapping[str, Any]) -> tuple[str, list[str | None]]:
    """Return the INSERT of one row, and its bound values."""
    return f"INSERT INTO {_name(table)} ({_names(row)}) VALUES ({','.join('?' * len(row))})", [_text(v) for v in row.values()]


def build_query(table: str, row: Mapping[str, Any], formats: Mapping[str, str], default: str) -> str:
    """Return the CREATE TABLE with a column for each key of a row. `formats` are the types that differ from `default`."""
    columns = ",".join(f"{_name(_plain(key))} {formats.get(key, default)}" for key in row)
    return f"CREATE TABLE {_name(table)} ({columns})"


def csv_rows(file: Path, translation: Mapping[str, str], delimiter: str) -> Iterator[dict[str, str | None]]:
    """Yield the rows of a CSV file by column, without double quotes. Renamed columns come last.

    Raises OSError, UnicodeDecodeError or csv.Error.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines, delimiter=delimiter, strict=False):
            if None in row:
                raise csv.Error("a row has more values than columns")
            values = {name: value and value.replace('"', "") for name, value in row.items()}
            renamed = {new: values.pop(old) for old, new in translation.items() if old in values}
            yield values | renamed


def _names(row: Mapping[str, Any]) -> str:
    return ",".join(_name(_plain(key)) for key in row)


def _plain(key: str) -> str:
    return str(key).replace("-", "_")


def _name(name: str) -> str:
    """Quote a name only if needed, because scripts compare and reuse these texts."""
    return name if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", name) else quoted(name)


def _text(value: object) -> str | None:
    """Return a value as text. Multiple values are joined by a backslash, as in Conquest."""
    if value is None:
        return None
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "\\".join(map(str, value))
    return str(value)


def _literal(value: object) -> str:
    text = _text(value)
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"
