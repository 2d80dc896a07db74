"""Which rules file has which action. Two in one folder share its state, and neither prunes what the other one made.

An action is known by its name alone. Where neither prunes, two rules files may have actions of one name.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from pyconquest_rules.errors import UsageError

TABLE = "CREATE TABLE IF NOT EXISTS maker (action TEXT PRIMARY KEY, rules TEXT, prunes INT) WITHOUT ROWID"


def check(ledger: sqlite3.Connection, rules: Path, prunes: Mapping[str, bool]) -> None:
    """Raise UsageError for an action that another rules file of the folder has too, if one of both prunes."""
    for name, prune in prunes.items():
        row = ledger.execute("SELECT rules, prunes FROM maker WHERE action = ?", (name,)).fetchone()
        if row is None or not _is_another(rules, str(row[0])):
            continue
        if prune or row[1]:
            raise UsageError(
                f"{name} of the rules file {str(row[0])!r} keeps its files in the same state, and one of both would prune the"
                f" other's; rename the action in {rules.name!r}, or keep the rules files in folders of their own"
            )


def claim(ledger: sqlite3.Connection, rules: Path, prunes: Mapping[str, bool]) -> None:
    """Note that a rules file has these actions, except those of another one in the folder."""
    for name, prune in prunes.items():
        row = ledger.execute("SELECT rules, prunes FROM maker WHERE action = ?", (name,)).fetchone()
        now = (rules.name, int(prune))
        if row != now and not (row and _is_another(rules, str(row[0]))):
            ledger.execute("INSERT OR REPLACE INTO maker VALUES (?, ?, ?)", (name, *now))


def _is_another(rules: Path, name: str) -> bool:
    """Whether there is a rules file of another name in the folder of this one."""
    return name != rules.name and Path(name).name == name and rules.with_name(name).is_file()
