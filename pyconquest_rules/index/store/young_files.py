"""Files that were read so soon after a change that a second change may have left their mtime as it was.

The index keeps the interval in which it read such files. The next `index` reads them again.
"""

import sqlite3

from pyconquest_rules.disk.young import is_young

KEY = "young"
"""The key of `rules_index` whose value is this interval: two times in nanoseconds."""


def young_files(connection: sqlite3.Connection) -> list[tuple[str, bytes, int, int]]:
    """Return the young files as (device, path, size, mtime_ns)."""
    interval = _interval(connection)
    if interval is None:
        return []
    rows = connection.execute("SELECT device, CAST(path AS BLOB), size, mtime_ns FROM rules_files")
    return [each for each in rows if is_young(each[3], *interval)]


def note_young(connection: sqlite3.Connection, began: int, now: int) -> None:
    """Note that young files were read between two times. An earlier beginning is kept."""
    interval = _interval(connection)
    began = min(began, interval[0]) if interval else began
    connection.execute("INSERT OR REPLACE INTO rules_index VALUES (?, ?)", (KEY, f"{began} {now}"))


def clear_young(connection: sqlite3.Connection) -> None:
    """Forget the interval, because the young files are about to be read again."""
    connection.execute("DELETE FROM rules_index WHERE key = ?", (KEY,))


def _interval(connection: sqlite3.Connection) -> tuple[int, int] | None:
    row = connection.execute("SELECT value FROM rules_index WHERE key = ?", (KEY,)).fetchone()
    if row is None:
        return None
    began, now = map(int, row[0].split())
    return began, now
