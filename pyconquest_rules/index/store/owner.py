"""To which rules file an index belongs. Two that shared one would drop each other's sources, and export each other's images.

The index names the rules file from its own folder, so that a project that was moved or copied with its index is the same one.
A pyconquest script and a Conquest server have no rules file, and share the index of one.
"""

import json
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from pyconquest_rules.errors import DatabaseError

KEY = "rules"
"""The key of `rules_index` under which an index keeps its rules file."""


def check(connection: sqlite3.Connection, database: Path, rules: Path, *, reads: bool = False) -> None:
    """Raise DatabaseError if an index belongs to another rules file; if that one is gone, only for who `reads`.

    The next `index` of all sources makes such an index one of these rules.
    """
    other = _other(connection, database, rules)
    if other is None:
        return
    if os.path.lexists(other):
        raise DatabaseError(
            f"the index {database} belongs to the rules file {other}; name another one as [index] database, or delete the"
            " index, which is a cache, and index again"
        )
    if reads:
        raise DatabaseError(
            f"the index {database} belonged to the rules file {other}, which is gone; take it over with: pyconquest-rules index"
        )


def claim(connection: sqlite3.Connection, database: Path, rules: Path) -> None:
    """Note that an index belongs to a rules file."""
    if _recorded(connection) != (name := _name(database, rules)):
        connection.execute("INSERT OR REPLACE INTO rules_index VALUES (?, ?)", (KEY, name))


def is_anybodys(connection: sqlite3.Connection) -> bool:
    """Whether an index belongs to no rules file: a new one, one of an earlier version or of a pyconquest script."""
    return _recorded(connection) is None


def _recorded(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT value FROM rules_index WHERE key = ?", (KEY,)).fetchone()
    return None if row is None else str(row[0])


def _name(database: Path, rules: Path) -> str:
    """The rules file as its index names it; as JSON, since a path may be no UTF-8."""
    return json.dumps(os.path.relpath(os.path.realpath(rules), os.path.realpath(database.parent)))


def _other(connection: sqlite3.Connection, database: Path, rules: Path) -> Path | None:
    recorded = _recorded(connection)
    if recorded is None or recorded == _name(database, rules):
        return None
    with suppress(ValueError):  # somebody else wrote it
        name = json.loads(recorded)
        if isinstance(name, str) and name.isprintable() and name:
            return Path(os.path.normpath(os.path.join(os.path.realpath(database.parent), name)))
    return Path("of an unknown name")
