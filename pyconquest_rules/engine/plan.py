"""A plan is rows in SQLite: it may be larger than memory, it can be saved, and conflicts are found by SQL."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import date
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from pyconquest_rules.answers import Finding
from pyconquest_rules.errors import DatabaseError, UsageError
from pyconquest_rules.index.store.databases import connect
from pyconquest_rules.paths import collision_key, remembered
from pyconquest_rules.steps import (
    Mode,
    Operation,
    PutFile,
    Reason,
    RemoveFile,
    Request,
    RetrieveInstance,
    SendInstance,
    Series,
    Stamp,
    Status,
    Step,
)

# What is wished is written once; what becomes of it is a narrow table, which is cheap to write anew while it is decided.
# Paths of folders end with a slash; folder 0 is that of requests without a destination, series 0 that of all that is not to be
# retrieved. What some file system takes for one has one `key`; `place` numbers the keys of folders. What is to be removed is a
# request too: in folder 0, the whole path as its name, with the size and time that were recorded; `removal` has the rest. `prune`
# is NULL, 0 for no more than half, or 1.
TABLES = """
CREATE TABLE action (
    number INTEGER PRIMARY KEY, name TEXT UNIQUE, mode TEXT, on_conflict TEXT, fingerprint TEXT, node TEXT, confirm INT,
    prune INT, into_source TEXT, on_changed TEXT);
CREATE TABLE folder (number INTEGER PRIMARY KEY, path TEXT, written TEXT, key TEXT, place INT);
CREATE TABLE series (number INTEGER PRIMARY KEY, StudyInstanceUID TEXT, SeriesInstanceUID TEXT, SOPClassUID TEXT,
    PatientID TEXT);
CREATE TABLE request (
    number INTEGER PRIMARY KEY, action INT, SOPInstanceUID TEXT, source BLOB, size INT, mtime_ns INT,
    folder INT, name TEXT, key TEXT, reason TEXT, message TEXT, series INT);
CREATE TABLE step (
    number INTEGER PRIMARY KEY, action INT, status TEXT, reason TEXT, message TEXT, size INT, there_size INT, there_mtime_ns INT);
CREATE TABLE removal (number INTEGER PRIMARY KEY, sha256 TEXT, forget INT);
CREATE TABLE made (day TEXT);
CREATE TABLE brought_along (action TEXT PRIMARY KEY, instances INT);
CREATE TABLE allowed (what TEXT PRIMARY KEY);
INSERT INTO folder VALUES (0, '', NULL, NULL, 0);
INSERT INTO series VALUES (0, '', '', '', '');
"""

SCHEMA = "SELECT type, name, sql FROM main.sqlite_master ORDER BY type, name"

STEPS = """
SELECT step.number, action.name, request.SOPInstanceUID, step.status, step.reason, step.message, action.fingerprint,
       action.mode, action.node, request.source, request.size, request.mtime_ns, folder.path || request.name AS destination,
       step.there_size, step.there_mtime_ns, action.into_source, StudyInstanceUID, SeriesInstanceUID, SOPClassUID,
       PatientID, removal.sha256, removal.forget
FROM step CROSS JOIN request ON request.number = step.number
    CROSS JOIN folder ON folder.number = request.folder CROSS JOIN series ON series.number = request.series
    CROSS JOIN action ON action.number = step.action LEFT JOIN removal ON removal.number = step.number
"""

# What somebody should see first: what is blocked, what somebody changed, what is removed, what is replaced, then the rest.
RANK = """
CASE WHEN step.reason = 'destination-changed' THEN 1 WHEN status = 'blocked' THEN 0 WHEN step.reason = 'prune' THEN 2
    WHEN there_size IS NOT NULL AND step.reason != 'adopt' THEN 3 ELSE 4 END
"""

# What is removed is not put.
ANSWERED = """
INSERT OR REPLACE INTO temp.asked
SELECT destination, iif(removal.number IS NULL, step.status, NULL), coalesce(step.message, step.reason)
FROM step CROSS JOIN request USING (number) CROSS JOIN folder ON folder.number = request.folder
    CROSS JOIN temp.asked ON asked.destination = folder.path || request.name LEFT JOIN removal ON removal.number = step.number
"""


class Plan:
    """The steps of the actions that were asked for, in the order in which they will be done.

    `findings` is what speaks against all of it; they are of now, and not saved.
    """

    def __init__(self) -> None:
        """A new plan, in a temporary file that goes with it."""
        self.connection = sqlite3.connect("", isolation_level=None)
        self.findings: tuple[Finding, ...] = ()
        self.connection.execute("PRAGMA journal_mode = OFF")
        self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.executescript(TABLES)
        self.connection.execute("PRAGMA cache_size = -32768")
        self._folder = remembered(self._noted)
        self._series = remembered(self._noted_series)

    def __enter__(self) -> "Plan":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def limit(self, most: int) -> None:
        """Let the plan have `most` bytes more, and half as many beside it; what it has already may double once it is decided."""
        size, pages = (self.connection.execute(f"PRAGMA main.{name}").fetchone()[0] for name in ("page_size", "page_count"))
        number = 2 * pages + most // size
        self.connection.execute(f"PRAGMA main.max_page_count = {number}")
        self.connection.execute(f"PRAGMA temp.max_page_count = {number // 2}")

    def add_action(
        self, name: str, mode: Mode, on_conflict: str, on_changed: str, fingerprint: str, prune: bool | None = None
    ) -> None:
        """Add an action that copies. Actions are done in the order in which they are added.

        `prune`: what nobody requests any more goes, where that is at most half of what the action made; True: however much it is.
        """
        row = (name, mode, on_conflict, fingerprint, prune, on_changed)
        self.connection.execute("INSERT INTO action VALUES (NULL, ?, ?, ?, ?, NULL, NULL, ?, NULL, ?)", row)

    def add_send(self, name: str, node: str, fingerprint: str, *, confirm: bool) -> None:
        """Adds an action that sends to a node; `confirm`: the status of a C-STORE is not enough."""
        row = (name, fingerprint, node, confirm)
        self.connection.execute("INSERT INTO action VALUES (NULL, ?, 'send', '', ?, ?, ?, NULL, NULL, NULL)", row)

    def add_retrieve(self, name: str, node: str, into: str, fingerprint: str) -> None:
        """Adds an action that brings instances from a node into a source."""
        row = (name, fingerprint, node, into)
        self.connection.execute("INSERT INTO action VALUES (NULL, ?, 'retrieve', '', ?, ?, NULL, NULL, ?, NULL)", row)

    def add(self, action: str, requests: Iterable[Request]) -> int:
        """Adds the requests of an action. Gives how many requests there are now."""
        (number,) = self.connection.execute("SELECT number FROM action WHERE name = ?", (action,)).fetchone()
        self.connection.execute("BEGIN")
        self.connection.executemany(
            "INSERT INTO request VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self._row(number, request) for request in requests),
        )
        self.connection.execute("COMMIT")
        return int(self.connection.execute("SELECT max(number) FROM request").fetchone()[0] or 0)

    def _row(self, action: int, request: Request) -> tuple[object, ...]:
        uid, source, size, mtime_ns, folder, name, written, reason, message, series = request
        number, of = self._folder(folder, written) if name else 0, self._series(series) if series else 0
        return (action, uid, source, size, mtime_ns, number, name, collision_key(name), reason, message, of)

    def _noted(self, path: str, written: str) -> int:
        """Notes a folder, mostly once: the requests for it follow each other. Gives its number."""
        insert = "INSERT INTO folder (path, written, key) VALUES (?, ?, ?)"
        return self.connection.execute(insert, (path, written, collision_key(path))).lastrowid or 0

    def _noted_series(self, series: Series) -> int:
        """Notes a series, once as long as its requests follow each other. Gives its number."""
        return self.connection.execute("INSERT INTO series VALUES (NULL, ?, ?, ?, ?)", series).lastrowid or 0

    def steps(
        self, *, action: str | None = None, status: Status | None = None, instances: Sequence[str] | None = None
    ) -> Iterator[Step]:
        """The steps, in the order of actions and, within one, as they were wished."""
        asked = {
            "action.name = ?": action,
            "step.status = ?": status,
            "request.SOPInstanceUID IN (SELECT value FROM json_each(?))": None if instances is None else json.dumps(instances),
        }
        where = " AND ".join(condition for condition, value in asked.items() if value is not None)
        rows = self.connection.execute(
            f"{STEPS} {'WHERE ' + where if where else ''} ORDER BY step.number",
            [value for value in asked.values() if value is not None],
        )
        return (_step(row) for row in rows)

    def by_weight(self) -> Iterator[Step]:
        """Yield the steps that are not unchanged: blocked ones first, then changed destinations; sorted by destination."""
        order = f"{RANK}, action.number, destination, request.SOPInstanceUID"
        rows = self.connection.execute(f"{STEPS} WHERE step.status != 'unchanged' ORDER BY {order}")
        return (_step(row) for row in rows)

    def instance_at(self, destination: str) -> str | None:
        """The SOPInstanceUID of the instance that is to lie at a destination."""
        (uid,) = self.connection.execute(
            "SELECT min(SOPInstanceUID) FROM request JOIN folder ON folder.number = request.folder WHERE path || name = ?",
            (destination,),
        ).fetchone()
        return None if uid is None else str(uid)

    def without(self, destinations: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Those of some destinations at which nothing would be put, and why; to be asked once."""
        self.connection.execute("CREATE TEMP TABLE asked (destination TEXT PRIMARY KEY, status TEXT, why TEXT) WITHOUT ROWID")
        self.connection.execute("BEGIN")
        asked = ((destination,) for destination in destinations)
        self.connection.executemany("INSERT INTO temp.asked VALUES (?, NULL, 'no action requests it any more')", asked)
        self.connection.execute(ANSWERED)
        self.connection.execute("COMMIT")
        yield from self.connection.execute("SELECT destination, why FROM temp.asked WHERE status IS NOT 'todo'")

    def actions(self) -> list[str]:
        """The names of the actions in their order."""
        return [name for (name,) in self.connection.execute("SELECT name FROM action ORDER BY number")]

    @property
    def allows_prune(self) -> bool:
        """Whether more than half of what an action made may be removed."""
        return self.connection.execute("SELECT 1 FROM action WHERE prune").fetchone() is not None

    def allow_vanish(self) -> None:
        """Note that outputs may have lost most of their files."""
        self.connection.execute("INSERT INTO allowed VALUES ('vanish')")

    @property
    def allows_vanish(self) -> bool:
        """Whether outputs may have lost most of their files."""
        return self.connection.execute("SELECT 1 FROM allowed WHERE what = 'vanish'").fetchone() is not None

    def counts(self) -> dict[str, dict[str, int]]:
        """For each action: todo, unchanged, blocked, and the bytes that are to be done."""
        counts = {name: {**dict.fromkeys(map(str, Status), 0), "bytes": 0} for name in self.actions()}
        for (action, status, _), (number, size) in self._totals.items():
            counts[action][status] += number
            counts[action]["bytes"] += size if status is Status.TODO else 0
        return counts

    def statuses(self) -> dict[str, int]:
        """Return how many steps have each status."""
        counts = self.counts().values()
        return {status: sum(of[status] for of in counts) for status in map(str, Status)}

    def note_day(self, day: date) -> None:
        """Notes the day that relative dates are of; once."""
        self.connection.execute("INSERT INTO made VALUES (?)", (day.isoformat(),))

    @property
    def day(self) -> date:
        """The day that relative dates are of."""
        return date.fromisoformat(self.connection.execute("SELECT day FROM made").fetchone()[0])

    def note_brought_along(self, action: str, instances: int) -> None:
        """Notes that the set of an action brings along instances of another PatientID."""
        self.connection.execute("INSERT INTO brought_along VALUES (?, ?)", (action, instances))

    def brought_along(self) -> dict[str, int]:
        """Return, for each action that has any, how many instances of another PatientID its set brings along."""
        return dict(self.connection.execute("SELECT action, instances FROM brought_along ORDER BY rowid"))

    def reasons(self) -> Counter[tuple[str, Status, Reason]]:
        """How many steps of each action have each status and reason."""
        return Counter({which: number for which, (number, _) in self._totals.items()})

    @cached_property
    def _totals(self) -> dict[tuple[str, Status, Reason], tuple[int, int]]:
        """Steps and bytes by action, status and reason; a plan that was made does not change any more."""
        rows = self.connection.execute(
            "SELECT action.name, status, reason, count(*), sum(size) FROM step JOIN action ON action.number = step.action"
            " GROUP BY step.action, status, reason"
        )
        return {(action, Status(status), Reason(reason)): (number, size) for action, status, reason, number, size in rows}

    def digest(self) -> str:
        """Equal for two plans that would do the same, to the same things, for the same reasons."""
        digest = sha256()
        for row in self.connection.execute(f"{STEPS} ORDER BY action.number, destination, request.SOPInstanceUID"):
            digest.update(repr(row[1:]).encode())
        return digest.hexdigest()

    def save(self, file: Path) -> None:
        """Write the plan to an empty file. Raises UsageError if that fails, as on a full disk."""
        try:
            with closing(sqlite3.connect(file)) as copy:
                self.connection.backup(copy)
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


def _step(row: tuple[Any, ...]) -> Step:
    number, action, uid, status, reason, message, fingerprint, *rest = row
    return Step(number, action, uid, Status(status), Reason(reason), message, fingerprint, _operation(reason, *rest))


def _operation(reason: str, mode: str, node: str | None, source: bytes, size: int, mtime_ns: int, *rest: Any) -> Operation:
    destination, there_size, there_mtime_ns, into, *series, sha256, forget = rest
    if sha256 is not None:
        return RemoveFile(source, Stamp(size, mtime_ns), destination, sha256, bool(forget))
    match mode, node:
        case "send", str():
            return SendInstance(source, Stamp(size, mtime_ns), node, reason == Reason.UNCONFIRMED)
        case "retrieve", str():
            return RetrieveInstance(node, Series(*series), into)
    there = None if there_size is None else Stamp(there_size, there_mtime_ns)
    return PutFile(Mode(mode), source, Stamp(size, mtime_ns), destination, there, reason == Reason.ADOPT)
