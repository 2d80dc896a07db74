"""Plans in files: `plan -o FILE`, `apply --plan FILE`."""

import sqlite3
from contextlib import closing
from pathlib import Path

from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.errors import DatabaseError, UsageError
from pyconquest_rules.index.store.databases import connect

SCHEMA = "SELECT type, name, sql FROM main.sqlite_master ORDER BY type, name"


def save(plan: Plan, file: Path) -> None:
    """Write the plan to an empty file. Raises UsageError if that fails, as on a full disk."""
    try:
        with closing(sqlite3.connect(file)) as copy:
            plan.connection.backup(copy)
    except sqlite3.Error as error:
        raise UsageError(f"cannot save the plan: {error}") from None


def load(file: Path) -> Plan:
    """A plan that was saved. Raises UsageError if there is no such file, or if it is not a plan of this version."""
    if not file.exists():
        raise UsageError(f"there is no file {file}; save a plan first, with: plan -o FILE")
    plan = Plan()
    try:
        with closing(connect(file.resolve(), read_only=True, timeout=5)) as saved:
            if saved.execute(SCHEMA).fetchall() != plan.connection.execute(SCHEMA).fetchall():
                raise sqlite3.DatabaseError
            saved.backup(plan.connection)
        if plan.connection.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
            raise sqlite3.DatabaseError
        _ = plan.day
    except (DatabaseError, sqlite3.Error, TypeError, ValueError):
        raise UsageError(f"{file} is not a plan of this version; name a file that was saved with: plan -o FILE") from None
    return plan
