"""The rules file to which an index belongs. Two rules files with one index would drop each other's sources.

The index stores the path of the rules file relative to its own folder, so a project may be moved or copied with its index.
pyconquest scripts and Conquest servers have no rules file and may use any index.
"""

import json
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from pyconquest_rules.errors import DatabaseError

KEY = "rules"
"""The key of `rules_index` for the path of the rules file."""


def check(connection: sqlite3.Connection, database: Path, rules: Path, *, reads: bool = False) -> None:
    """Raise DatabaseError if an index belongs to another rules file. If that file is gone, raise only if the caller `reads`.

    The next `index` of all sources takes over an index whose rules file is gone.
    """
    other = _other(connection, database, rules)
    if other is None:
        return
    if os.path.lexists(other):
        raise DatabaseError(
            f"the index {database} belongs to the rules file {other}; name another file as [index] database, or delete the"
            " index (it is a cache) and index again"
        )
    if reads:
        raise DatabaseError(
            f"the index {database} belonged to the rules file {other}, which is gone; take it over with: pyconquest-rules index"
        )


def claim(connection: sqlite3.Connection, database: Path, rules: Path) -> None:
    """Record that an index belongs to a rules file."""
    if _recorded(connection) != (name := _name(database, rules)):
        connection.execute("INSERT OR REPLACE INTO rules_index VALUES (?, ?)", (KEY, name))


def is_anybodys(connection: sqlite3.Connection) -> bool:
    """Return whether an index belongs to no rules file: it is new, or an earlier version or a pyconquest script created it."""
    return _recorded(connection) is None


def _recorded(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT value FROM rules_index WHERE key = ?", (KEY,)).fetchone()
    return None if row is None else str(row[0])


def _name(database: Path, rules: Path) -> str:
    """Return the path of the rules file as its index stores it. It is JSON, because a path may not be UTF-8."""
    return json.dumps(os.path.relpath(os.path.realpath(rules), os.path.realpath(database.parent)))


def _other(connection: sqlite3.Connection, database: Path, rules: Path) -> Path | None:
    recorded = _recorded(connection)
    if recorded is None or recorded == _name(database, rules):
        return None
    with suppress(ValueError):  # another program wrote it
        name = json.loads(recorded)
        if isinstance(name, str) and name.isprintable() and name:
            return Path(os.path.normpath(os.path.join(os.path.realpath(database.parent), name)))
    return Path("of an unknown name")
