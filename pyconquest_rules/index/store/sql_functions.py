"""Replacements for the SQL functions that could run for very long, or use much memory, in one uninterruptible step.

The time of all other functions is proportional to their arguments, which `guard.guarded` keeps short.
"""

import re
import sqlite3
from collections.abc import Callable
from functools import partial

LONGEST = 16 * 1024 * 1024
"""The limit on texts and blobs that a function reads or returns, in bytes."""

LONGEST_FORMAT, LONGEST_PART = 1000, 256
# Widths and precisions with more than three digits, or taken from an argument.
LARGE = re.compile(r"%[^%A-Za-z]*(?:\*|[0-9]{4})")

Value = str | bytes | int | float | None


def set_up(connection: sqlite3.Connection) -> None:
    """Replace SQLite's functions on a connection. The results are the same, but calls that would take too long raise.

    Unlike SQLite's own functions, they cannot use text that is not UTF-8.
    """
    # Other values than texts are left to SQLite, which converts numbers in its own way.
    plain = sqlite3.connect(":memory:", check_same_thread=False)
    plain.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    trims = {"trim": str.strip, "ltrim": str.lstrip, "rtrim": str.rstrip}
    for name, strip in trims.items():
        connection.create_function(name, 2, partial(_trim, plain, name, strip), deterministic=True)
    for name in ("printf", "format"):
        connection.create_function(name, -1, partial(_format, plain), deterministic=True)
    connection.create_function("instr", 2, partial(_instr, plain), deterministic=True)
    connection.create_function("replace", 3, partial(_replace, plain), deterministic=True)


def _instr(plain: sqlite3.Connection, text: Value, part: Value) -> Value:
    """Return what `instr` returns. Python searches in linear time; SQLite compares all of `part` at every position."""
    match text, part:
        case str(), str():
            return text.find(part) + 1
        case bytes(), bytes():
            return text.find(part) + 1
    return _by_sqlite(plain, "instr", text, _short(part))


def _replace(plain: sqlite3.Connection, text: Value, old: Value, new: Value) -> Value:
    match text, old, new:
        case str(), str(), str():
            if not old or old[0] == "\0":  # an empty text for SQLite
                return text
            if len(text) + text.count(old) * (len(new) - len(old)) > LONGEST:
                raise ValueError("the text gets too long")
            return text.replace(old, new)
    return _by_sqlite(plain, "replace", text, _short(old), new)


def _trim(plain: sqlite3.Connection, name: str, strip: Callable[[str, str], str], text: Value, letters: Value) -> Value:
    _short(letters)
    if isinstance(text, str) and isinstance(letters, str):
        return strip(text, letters.partition("\0")[0])  # SQLite reads up to the first NUL
    return _by_sqlite(plain, name, text, letters)


def _format(plain: sqlite3.Connection, *arguments: Value) -> Value:
    form = arguments[0] if arguments else None
    if isinstance(form, bytes) or (isinstance(form, str) and (len(form) > LONGEST_FORMAT or LARGE.search(form))):
        raise ValueError("the format is too long, or asks for a long text")
    return _by_sqlite(plain, "printf", *arguments)


def _short(part: Value) -> Value:
    if isinstance(part, str | bytes) and len(part) > LONGEST_PART:
        raise ValueError("what is looked for is too long")
    return part


def _by_sqlite(plain: sqlite3.Connection, name: str, *arguments: Value) -> Value:
    found: Value = plain.execute(f"SELECT {name}({', '.join('?' * len(arguments))})", arguments).fetchone()[0]
    return found
