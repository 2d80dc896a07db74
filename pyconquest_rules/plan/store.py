"""A plan is rows in SQLite: it may be larger than memory, it can be saved, and conflicts are found by SQL."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from pyconquest_rules.errors import UsageError
from pyconquest_rules.paths import collision_key
from pyconquest_rules.steps import Mode, PutFile, Reason, Stamp, Status, Step, Wish

TABLES = """
CREATE TABLE action (name TEXT PRIMARY KEY, place INT, mode TEXT, on_conflict TEXT, fingerprint TEXT);
CREATE TABLE step (
    number INTEGER PRIMARY KEY, action TEXT, SOPInstanceUID TEXT, source BLOB, size INT, mtime_ns INT,
    destination TEXT, key TEXT, folder TEXT, written TEXT,
    status TEXT, reason TEXT, message TEXT, there_size INT, there_mtime_ns INT,
    UNIQUE (SOPInstanceUID, destination, action));
CREATE INDEX step_key ON step (key);
CREATE INDEX step_folder ON step (folder);
CREATE TEMP TABLE folder (
    path TEXT, written TEXT, key TEXT, parent TEXT, trouble TEXT, PRIMARY KEY (path, written)) WITHOUT ROWID;
CREATE INDEX temp.folder_key ON folder (key);
CREATE TEMP TABLE present (destination TEXT PRIMARY KEY, key TEXT, kind TEXT, size INT, mtime_ns INT) WITHOUT ROWID;
CREATE INDEX temp.present_key ON present (key);
CREATE TEMP TABLE alike (number INTEGER PRIMARY KEY);
CREATE TEMP TABLE renaming (number INTEGER PRIMARY KEY, destination TEXT, SOPInstanceUID TEXT);
CREATE TEMP TABLE recorded (destination TEXT PRIMARY KEY, SOPInstanceUID TEXT, source BLOB, source_size INT, source_mtime_ns INT,
    fingerprint TEXT, size INT, mtime_ns INT) WITHOUT ROWID;
CREATE TEMP TABLE failed (destination TEXT PRIMARY KEY) WITHOUT ROWID;
"""

SCHEMA = "SELECT type, name, sql FROM main.sqlite_master ORDER BY type, name"

STEPS = """
SELECT step.number, step.action, step.SOPInstanceUID, step.status, step.reason, step.message, action.fingerprint,
       action.mode, step.source, step.size, step.mtime_ns, step.destination, step.there_size, step.there_mtime_ns
FROM step JOIN action ON action.name = step.action
"""


class Plan:
    """The steps of the actions that were asked for, in the order in which they will be done."""

    def __init__(self) -> None:
        """A new plan, in a temporary file that goes with it."""
        self.connection = sqlite3.connect("", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = OFF")
        self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.executescript(TABLES)

    def __enter__(self) -> "Plan":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def add_action(self, name: str, mode: Mode, on_conflict: str, fingerprint: str) -> None:
        """Actions are done in the order in which they are added."""
        self.connection.execute(
            "INSERT INTO action VALUES (?, (SELECT count(*) FROM action), ?, ?, ?)", (name, mode, on_conflict, fingerprint)
        )

    def add(self, action: str, wishes: Iterable[Wish]) -> int:
        """Adds the wishes of an action, each once however often it was wished. Gives how many steps there are now."""
        self.connection.execute("BEGIN")
        self.connection.executemany(
            "INSERT OR IGNORE INTO step (action, SOPInstanceUID, source, size, mtime_ns, destination, key, folder, written,"
            " status, reason, message)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (_row(action, wish) for wish in wishes),
        )
        self.connection.execute("COMMIT")
        return int(self.connection.execute("SELECT count(*) FROM step").fetchone()[0])

    def steps(self, *, action: str | None = None, status: Status | None = None, instance: str | None = None) -> Iterator[Step]:
        """The steps, in the order of actions and, within one, as they were wished."""
        asked = {"step.action": action, "step.status": status, "step.SOPInstanceUID": instance}
        where = " AND ".join(f"{column} = ?" for column, value in asked.items() if value is not None)
        rows = self.connection.execute(
            f"{STEPS} {'WHERE ' + where if where else ''} ORDER BY step.number",
            [v for v in asked.values() if v is not None],
        )
        return (_step(row) for row in rows)

    def instance_at(self, destination: str) -> str | None:
        """The SOPInstanceUID of the instance that is to lie at a destination."""
        row = self.connection.execute("SELECT SOPInstanceUID FROM step WHERE destination = ?", (destination,)).fetchone()
        return str(row[0]) if row else None

    def actions(self) -> list[str]:
        """The names of the actions in their order."""
        return [name for (name,) in self.connection.execute("SELECT name FROM action ORDER BY place")]

    def counts(self) -> dict[str, dict[str, int]]:
        """For each action: todo, unchanged, blocked, and the bytes that are to be done."""
        counts = {name: {**dict.fromkeys(Status, 0), "bytes": 0} for name in self.actions()}
        for action, status, number, size in self.connection.execute(
            "SELECT action, status, count(*), sum(size) FROM step GROUP BY action, status"
        ):
            counts[action][status] = number
            if status == Status.TODO:
                counts[action]["bytes"] = size
        return {name: {str(key): value for key, value in of.items()} for name, of in counts.items()}

    def reasons(self) -> Counter[tuple[str, Status, Reason]]:
        """How many steps of each action have each status and reason."""
        rows = self.connection.execute("SELECT action, status, reason, count(*) FROM step GROUP BY action, status, reason")
        return Counter({(action, Status(status), Reason(reason)): number for action, status, reason, number in rows})

    def digest(self) -> str:
        """Equal for two plans that would do the same, to the same things, for the same reasons."""
        digest = sha256()
        for row in self.connection.execute(f"{STEPS} ORDER BY action.place, step.destination, step.SOPInstanceUID"):
            digest.update(repr(row[1:]).encode())
        return digest.hexdigest()

    def save(self, file: Path) -> None:
        """Writes the plan to a file, whole or not at all. Raises UsageError where that cannot be written."""
        part = file.with_name(file.name + ".part")
        try:
            part.unlink(missing_ok=True)
            with closing(sqlite3.connect(part)) as copy:
                self.connection.backup(copy)
            part.replace(file)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"cannot write the plan {file}: {error}") from None


def load(file: Path) -> Plan:
    """A plan that was saved. Raises UsageError where the file is no plan of this version."""
    plan = Plan()
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as saved:
            if saved.execute(SCHEMA).fetchall() != plan.connection.execute(SCHEMA).fetchall():
                raise sqlite3.DatabaseError
            saved.backup(plan.connection)
        if plan.connection.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
            raise sqlite3.DatabaseError
    except sqlite3.Error:
        raise UsageError(f"{file} is not a plan; make one with: plan -o {file}") from None
    return plan


def _row(action: str, wish: Wish) -> tuple[object, ...]:
    place = (wish.destination, collision_key(wish.destination), wish.destination.rpartition("/")[0])
    source = (wish.source, wish.stamp.size, wish.stamp.mtime_ns)
    status = Status.BLOCKED if wish.reason else None
    # Of what was written only the folders count: names of files are told apart by `key`.
    folder = wish.written.rpartition("\0")[0]
    return (action, wish.SOPInstanceUID, *source, *place, folder, status, wish.reason, wish.message)


def _step(row: tuple[Any, ...]) -> Step:
    number, action, uid, status, reason, message, fingerprint, *operation = row
    mode, source, size, mtime_ns, destination, there_size, there_mtime_ns = operation
    there = None if there_size is None else Stamp(there_size, there_mtime_ns)
    put = PutFile(Mode(mode), source, Stamp(size, mtime_ns), destination, there, reason == Reason.ADOPT)
    return Step(number, action, uid, Status(status), Reason(reason), message, fingerprint, put)
