"""Functions of SQL that take SQLite a long time, or any length, in one step that nothing can stop: ours take their place.

All others take a time that grows with their arguments, and `guard.guarded` keeps those short.
"""

import re
import sqlite3
from collections.abc import Callable
from functools import partial

LONGEST = 16 * 1024 * 1024
"""No text or blob that a function makes or reads is longer, in bytes."""

LONGEST_FORMAT, LONGEST_PART = 1000, 256
# Widths and precisions of more than three digits, or such as an argument gives.
LARGE = re.compile(r"%[^%A-Za-z]*(?:\*|[0-9]{4})")

Value = str | bytes | int | float | None


def set_up(connection: sqlite3.Connection) -> None:
    """Puts our functions in the place of SQLite's. They give what SQLite's give, and raise for what would take too long.

    As all functions that are not SQLite's own, they cannot use a text that is not UTF-8.
    """
    # What is not texts is left to SQLite, which knows best how it writes a number.
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
    """Python finds in linear time; SQLite looks at the whole of `part` at every place."""
    match text, part:
        case str(), str():
            return text.find(part) + 1
        case bytes(), bytes():
            return text.find(part) + 1
    return _by_sqlite(plain, "instr", text, _short(part))


def _replace(plain: sqlite3.Connection, text: Value, old: Value, new: Value) -> Value:
    match text, old, new:
        case str(), str(), str():
            if not old or old[0] == "\0":  # for SQLite a text of no letters
                return text
            if len(text) + text.count(old) * (len(new) - len(old)) > LONGEST:
                raise ValueError("the text gets too long")
            return text.replace(old, new)
    return _by_sqlite(plain, "replace", text, _short(old), new)


def _trim(plain: sqlite3.Connection, name: str, strip: Callable[[str, str], str], text: Value, letters: Value) -> Value:
    _short(letters)
    if isinstance(text, str) and isinstance(letters, str):
        return strip(text, letters.partition("\0")[0])  # where SQLite stops to read
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
