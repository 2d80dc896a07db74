"""Changes of the order of files: another order of sources, another `on_conflict`, or another chosen file."""

import json
import os
import sqlite3
from typing import Any

from pyconquest_rules.index.store.decisions import Decisions
from pyconquest_rules.index.store.firsts import all_are_stale
from pyconquest_rules.index.store.order import Order

KEY = "order"
"""The key of `rules_index` for the order that the index has."""

CONTESTED = """
SELECT device, CAST(path AS BLOB), size, mtime_ns, SOPInstanceUID FROM rules_files
WHERE outcome != 'skipped' AND SOPInstanceUID IN (
    SELECT SOPInstanceUID FROM rules_files WHERE outcome = 'duplicate' OR outcome = 'rejected' AND reason = 'conflict')
"""


def order_text(order: Order, decisions: Decisions) -> str:
    """Return an order as the text that the index keeps of it."""
    chosen = sorted([uid, source, os.fsdecode(path)] for uid, (source, path) in decisions.chosen.items())
    return json.dumps({"on_conflict": order.on_conflict, "sources": order.sources, "chosen": chosen})


def remember(connection: sqlite3.Connection, now: str) -> None:
    """Record the order that the index has."""
    if _before(connection) != now:
        connection.execute("INSERT OR REPLACE INTO rules_index VALUES (?, ?)", (KEY, now))


def contested(connection: sqlite3.Connection, now: str) -> list[tuple[str, bytes, int, int]]:
    """Return the files (device, path, size, mtime_ns) of instances of which the new order may index another file.

    If the order of sources changed, mark all rows above the instances as stale.
    """
    kept = _before(connection)
    if kept is None or kept == now:
        return []
    before: dict[str, Any] = json.loads(kept)
    after: dict[str, Any] = json.loads(now)
    rows = connection.execute(CONTESTED).fetchall()
    moved = _common(before, after) != _common(after, before)
    if moved:
        all_are_stale(connection)
    if moved or before["on_conflict"] != after["on_conflict"]:
        return [row[:4] for row in rows]
    chosen = {
        choice[0]
        for one, other in ((before, after), (after, before))
        for choice in one["chosen"]
        if choice not in other["chosen"]
    }
    return [row[:4] for row in rows if row[4] in chosen]


def _before(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT value FROM rules_index WHERE key = ?", (KEY,)).fetchone()
    return row and str(row[0])


def _common(of: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in of["sources"] if name in other["sources"]]
