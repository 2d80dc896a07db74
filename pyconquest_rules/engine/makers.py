"""The rules file of each action. Two rules files in one folder share its state, and neither prunes the files of the other.

The ledger knows an action only by its name. Two rules files may have actions of the same name if neither prunes.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from pyconquest_rules.errors import UsageError

TABLE = "CREATE TABLE IF NOT EXISTS maker (action TEXT PRIMARY KEY, rules TEXT, prunes INT) WITHOUT ROWID"


def check(ledger: sqlite3.Connection, rules: Path, prunes: Mapping[str, bool]) -> None:
    """Raise UsageError if another rules file of the folder has an action of the same name and one of the two prunes."""
    for name, prune in prunes.items():
        row = ledger.execute("SELECT rules, prunes FROM maker WHERE action = ?", (name,)).fetchone()
        if row is None or not _is_another(rules, str(row[0])):
            continue
        if prune or row[1]:
            raise UsageError(
                f"{name} of the rules file {str(row[0])!r} uses the same state, and one of the two would prune the files of the"
                f" other; rename the action in {rules.name!r}, or keep the rules files in folders of their own"
            )


def claim(ledger: sqlite3.Connection, rules: Path, prunes: Mapping[str, bool]) -> None:
    """Record the rules file of these actions, except of those that another rules file in the folder has."""
    for name, prune in prunes.items():
        row = ledger.execute("SELECT rules, prunes FROM maker WHERE action = ?", (name,)).fetchone()
        now = (rules.name, int(prune))
        if row != now and not (row and _is_another(rules, str(row[0]))):
            ledger.execute("INSERT OR REPLACE INTO maker VALUES (?, ?, ?)", (name, *now))


def _is_another(rules: Path, name: str) -> bool:
    """Return whether `name` is another rules file in the folder of this one."""
    return name != rules.name and Path(name).name == name and rules.with_name(name).is_file()
