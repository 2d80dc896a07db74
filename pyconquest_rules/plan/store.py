"""A plan is rows in SQLite: it may be larger than memory, it can be saved, and conflicts are found by SQL."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from pyconquest_rules.errors import UsageError
from pyconquest_rules.steps import Mode, PutFile, Reason, Stamp, Status, Step, Wish
from pyconquest_rules.templates import collision_key

FORMAT = "pyconquest-rules plan 1"

TABLES = """
CREATE TABLE format (text TEXT);
CREATE TABLE action (name TEXT PRIMARY KEY, place INT, mode TEXT, on_conflict TEXT, fingerprint TEXT);
CREATE TABLE step (
    number INTEGER PRIMARY KEY, action TEXT, SOPInstanceUID TEXT, source BLOB, size INT, mtime_ns INT,
    destination TEXT, key TEXT, folder TEXT, written TEXT,
    status TEXT, reason TEXT, message TEXT, there_size INT, there_mtime_ns INT,
    UNIQUE (action, SOPInstanceUID, destination));
CREATE INDEX step_key ON step (key);
CREATE INDEX step_folder ON step (folder);
CREATE TEMP TABLE folder (
    path TEXT, written TEXT, key TEXT, parent TEXT, trouble TEXT, PRIMARY KEY (path, written)) WITHOUT ROWID;
CREATE INDEX temp.folder_key ON folder (key);
CREATE TEMP TABLE present (destination TEXT PRIMARY KEY, key TEXT, kind TEXT, size INT, mtime_ns INT) WITHOUT ROWID;
CREATE INDEX temp.present_key ON present (key);
CREATE TEMP TABLE alike (number INTEGER PRIMARY KEY);
CREATE TEMP TABLE recorded (destination TEXT PRIMARY KEY, SOPInstanceUID TEXT, source BLOB, source_size INT, source_mtime_ns INT,
    fingerprint TEXT, size INT, mtime_ns INT) WITHOUT ROWID;
CREATE TEMP TABLE failed (destination TEXT PRIMARY KEY) WITHOUT ROWID;
"""

STEPS = """
SELECT step.number, step.action, step.SOPInstanceUID, step.status, step.reason, step.message, action.fingerprint,
       action.mode, step.source, step.size, step.mtime_ns, step.destination, step.there_size, step.there_mtime_ns
FROM step JOIN action ON action.name = step.action
"""


class Plan:
    """The steps of the actions that were asked for, in the order in which they will be done."""

    def __init__(self, file: Path | None = None) -> None:
        """A new plan, in `file`, or in a temporary file that goes with it."""
        self.connection = sqlite3.connect(file or "", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = OFF")
        self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.executescript(TABLES)
        self.connection.execute("INSERT INTO format VALUES (?)", (FORMAT,))

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
            f"{STEPS} {'WHERE ' + where if where else ''} ORDER BY action.place, step.number",
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
        """Writes the plan to a file, whole or not at all."""
        part = file.with_name(file.name + ".part")
        part.unlink(missing_ok=True)
        with sqlite3.connect(part) as copy:
            self.connection.backup(copy)
        copy.close()
        part.replace(file)


def load(file: Path) -> Plan:
    """A plan that was saved. Raises UsageError where the file is no plan."""
    plan = Plan()
    try:
        saved = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
        if saved.execute("SELECT text FROM format").fetchall() != [(FORMAT,)]:
            raise sqlite3.DatabaseError
        saved.backup(plan.connection)
        saved.close()
    except sqlite3.Error:
        raise UsageError(f"{file} is not a plan; make one with: plan -o {file}") from None
    return plan


def _row(action: str, wish: Wish) -> tuple[object, ...]:
    place = (wish.destination, collision_key(wish.destination), wish.destination.rpartition("/")[0], wish.written)
    status = Status.BLOCKED if wish.reason else None
    return (
        action,
        wish.SOPInstanceUID,
        wish.source,
        wish.stamp.size,
        wish.stamp.mtime_ns,
        *place,
        status,
        wish.reason,
        wish.message,
    )


def _step(row: tuple[Any, ...]) -> Step:
    (
        number,
        action,
        uid,
        status,
        reason,
        message,
        fingerprint,
        mode,
        source,
        size,
        mtime_ns,
        destination,
        there_size,
        there_mtime,
    ) = row
    there = None if there_size is None else Stamp(there_size, there_mtime)
    operation = PutFile(Mode(mode), source, Stamp(size, mtime_ns), destination, there, reason == Reason.ADOPT)
    return Step(number, action, uid, Status(status), Reason(reason), message, fingerprint, operation)
