"""The ledger: what was done, to which destination, from which bytes, when and in which run. `.pyconquest-rules/state.db`."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.files import Made, Put, StepError
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.disk.removing import Removed
from pyconquest_rules.disk.state_folder import checked, made
from pyconquest_rules.engine import intents, state
from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.steps import PutFile, RetrieveInstance, Step

# So many instances are asked for in a row.
AT_ONCE = 500

RUNS = """
SELECT number, started, finished, targets, done, unchanged, failed, blocked, bytes, coalesce(ended.ending, run.ending), reason
FROM run LEFT JOIN ended ON ended.run = run.number ORDER BY number DESC LIMIT ?
"""

# What was made stays so when it is found again.
PUT = """
INSERT OR REPLACE INTO done VALUES ('file', ?1, '', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, NULL, NULL,
    iif(?13, coalesce((SELECT adopted FROM done WHERE kind = 'file' AND target = ?1 AND SOPInstanceUID = ?3), 1), 0),
    0, ?14, ?15, ?16)
"""
SENT = """
INSERT OR REPLACE INTO done (kind, target, member, action, SOPInstanceUID, delivered_uid, source, source_size, source_mtime_ns,
    fingerprint, status, confirmed, run, at) VALUES ('instance', ?1, ?2, ?3, ?4, ?2, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11)
"""

NOT_PUT = "INSERT OR REPLACE INTO failed VALUES ('file', ?, '', ?, ?, ?, ?, ?)"
NOT_ARRIVED = "INSERT OR REPLACE INTO failed VALUES ('arrival', ?1, ?2, ?3, ?2, ?4, ?5, ?6)"
# Without a run, that of an earlier failure stays.
NOT_SENT = """
INSERT OR REPLACE INTO failed VALUES ('instance', ?1, ?2, ?3, ?4, ?5,
    coalesce(?6, (SELECT run FROM failed WHERE kind = 'instance' AND target = ?1 AND member = ?2), 0), ?7)
"""
LOST = "DELETE FROM done WHERE kind = 'instance' AND target = ? AND member = ? RETURNING SOPInstanceUID"
SUCCEEDED = "DELETE FROM failed WHERE kind = ? AND target = ? AND member = ?"

BROUGHT = """
INSERT INTO brought VALUES (?1, ?2, ?3) ON CONFLICT (action) DO UPDATE SET instances = instances + ?2, last = ?3
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What the ledger says of a destination."""

    destination: str
    action: str
    SOPInstanceUID: str
    sha256: str
    stamp: Stamp
    run: int
    at: str
    young: bool
    doubted: bool
    """Whether other bytes were found there, though the stamp is as recorded."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `apply`, or one that could not begin.

    `ending` is "done", "interrupted", "killed", or None if it goes on or was killed just now. With a reason it is "not begun" or
    "failed".
    """

    number: int
    started: str
    finished: str | None
    targets: str
    done: int
    unchanged: int
    failed: int
    blocked: int
    bytes: int
    ending: str | None
    reason: str | None


class Ledger:
    """The state of one rules file. Reading it makes nothing; the first run makes it."""

    def __init__(self, base: Path, *, write: bool = False) -> None:
        """`base` is the folder of the rules file. Raises DatabaseError where the state cannot be read."""
        file = (made(base) if write else checked(base)) / "state.db"
        try:
            self.connection = state.opened(file, write)
        except sqlite3.Error as error:
            raise DatabaseError(f"cannot open {file}: {error}") from None
        self._shows_placed = False

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    @property
    def name(self) -> str:
        """8 hexadecimal letters by which temporary files of this state are known."""
        return str(self.connection.execute("SELECT value FROM state WHERE key = 'name'").fetchone()[0])

    def attach(self, connection: sqlite3.Connection) -> None:
        """Makes this ledger readable on another connection, as the database `ledger`."""
        # As bytes: a path may be no UTF-8.
        file = "SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'"
        copied = self._shows_placed
        connection.execute("ATTACH ? AS ledger", (b"",) if copied else self.connection.execute(file).fetchone())
        if connection.execute("SELECT 1 FROM ledger.sqlite_master").fetchone() is None:  # nothing was ever done, or it is copied
            for name, table in self.connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE name IN ('done', 'failed', 'repair')"
            ).fetchall():
                connection.execute(table.replace("TABLE ", "TABLE ledger.", 1))
                rows = self.connection.execute(f"SELECT * FROM {name}")
                marks = ", ".join("?" * len(rows.description))
                connection.executemany(f"INSERT INTO ledger.{name} VALUES ({marks})", rows)

    def show_placed(self, outputs: Outputs) -> None:
        """Show what a killed run placed but had not recorded as if it had. Only what this ledger reads is changed."""
        if intents.has_any(self.connection):
            intents.show(self.connection, outputs, now())
            self._shows_placed = True

    def record_placed(self, outputs: Outputs) -> None:
        """Record what a killed run placed, and take away what it only began. The caller holds the run lock."""
        if intents.has_any(self.connection):
            intents.settle(self.connection, outputs, now(), self.name, self.transaction)

    def intend(self, steps: Iterable[Step], run: int) -> None:
        """Note steps before the first of their temporary files is made."""
        with self.transaction() as connection:
            connection.executemany(intents.BEGUN, intents.noted(steps, run))

    def done(self) -> Iterator[Done]:
        """What was done, folder by folder."""
        rows = self.connection.execute(
            "SELECT target, action, SOPInstanceUID, sha256, size, mtime_ns, run, at, young, changed FROM done WHERE kind = 'file'"
            # what is left of a path without the letters at its end that are no slash: its folder
            " ORDER BY rtrim(target, replace(target, '/', '')), target"
        )
        for destination, action, uid, sha256, size, mtime_ns, run, at, young, changed in rows:
            yield Done(destination, action, uid, sha256, Stamp(size, mtime_ns), run, at, bool(young), bool(changed))

    def knows(self, destination: str) -> bool:
        """Whether something was put at a destination."""
        try:
            query = "SELECT 1 FROM done WHERE kind = 'file' AND target = ?"
            return self.connection.execute(query, (destination,)).fetchone() is not None
        except UnicodeEncodeError:  # a name that is not UTF-8, and so none of ours
            return False

    def holder(self, destination: str) -> tuple[str, str, bytes] | None:
        """The action that put a file at a destination, its SOPInstanceUID and its source; None if none did."""
        query = "SELECT action, SOPInstanceUID, source FROM done WHERE kind = 'file' AND target = ?"
        row: tuple[str, str, bytes] | None = self.connection.execute(query, (destination,)).fetchone()
        return row

    def origin(self, destination: str) -> tuple[bytes, Stamp, str]:
        """Return the source of the file at a destination, its stamp then, and the SHA-256 of its bytes then."""
        row = self.connection.execute(
            "SELECT source, source_size, source_mtime_ns, source_sha256 FROM done WHERE kind = 'file' AND target = ?",
            (destination,),
        ).fetchone()
        return row[0], Stamp(row[1], row[2]), row[3]

    def doubt(self, destinations: Iterable[str]) -> None:
        """Remembers that other bytes than were put stand at destinations; until they are put there again."""
        with self.transaction() as connection:
            rows = ((destination,) for destination in destinations)
            connection.executemany("UPDATE done SET changed = 1 WHERE kind = 'file' AND target = ?", rows)

    def allow_repair(self, found: Iterable[tuple[str, int, int]]) -> None:
        """Remember destinations whose content may be replaced, with the size and mtime of what was found there."""
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO repair VALUES (?, ?, ?)", found)

    def totals(self) -> dict[str, dict[str, Any]]:
        """For each action of the ledger: how many destinations are done and failed, and when the last was done."""
        totals: dict[str, dict[str, Any]] = {}
        done_of = (
            "SELECT action, count(*), max(at) FROM done GROUP BY action UNION ALL SELECT action, instances, last FROM brought"
        )
        for action, done, last in self.connection.execute(done_of):
            totals[action] = {"done": done, "failed": 0, "last": last}
        for action, failed in self.connection.execute("SELECT action, count(*) FROM failed GROUP BY action"):
            totals.setdefault(action, {"done": 0, "failed": 0, "last": None})["failed"] = failed
        return totals

    def runs(self, most: int = -1) -> list[Run]:
        """The runs, newest first."""
        return [Run(*row) for row in self.connection.execute(RUNS, (most,))]

    def sources(self, actions: Iterable[str], run: int | None = None) -> Iterator[bytes]:
        """The sources of what actions did in a run, or in those that were killed since the last one began."""
        rows = self.connection.execute(
            "SELECT source FROM done JOIN run ON run.number = done.run"
            " WHERE action IN (SELECT value FROM json_each(?)) AND (run.number = ?2 OR (?2 IS NULL AND ending IS NULL))",
            (json.dumps([*actions]), run),
        )
        return (source for (source,) in rows)

    def begin(self, targets: str) -> int:
        """Notes that a run began, and that those which came to no end were killed; gives its number."""
        with self.transaction() as connection:
            connection.execute("UPDATE run SET ending = 'killed' WHERE ending IS NULL")
            return int(connection.execute("INSERT INTO run (started, targets) VALUES (?, ?)", (now(), targets)).lastrowid or 0)

    def finish(self, run: int, counts: dict[str, int], ending: str) -> None:
        """Notes how a run ended."""
        values = (counts[name] for name in ("done", "unchanged", "failed", "blocked", "bytes"))
        with self.transaction() as connection:
            connection.execute(
                "UPDATE run SET finished = ?, done = ?, unchanged = ?, failed = ?, blocked = ?, bytes = ?, ending = ?"
                " WHERE number = ?",
                (now(), *values, ending, run),
            )
            connection.execute(intents.NOT_BEGUN, (run,))

    def note_end(self, run: int, targets: str, counts: dict[str, int], reason: str) -> None:
        """Notes why a run could not begin, whose number is 0, or ended before its end.

        What it moved is forgotten by the next one, as after a kill, so that its row stays open.
        """
        with self.transaction() as connection:
            row = (now(), now(), targets, "not begun")
            insert = "INSERT INTO run (started, finished, targets, ending) VALUES (?, ?, ?, ?)"
            number = run or connection.execute(insert, row).lastrowid
            if run:
                values = (counts[name] for name in ("done", "unchanged", "failed", "blocked", "bytes"))
                connection.execute(
                    "UPDATE run SET finished = ?, done = ?, unchanged = ?, failed = ?, blocked = ?, bytes = ? WHERE number = ?",
                    (now(), *values, run),
                )
            ending = "failed" if run else "not begun"
            connection.execute("INSERT OR REPLACE INTO ended VALUES (?, ?, ?)", (number, ending, reason))

    def waiting(self, listener: str) -> list[str]:
        """Return the studies for which a listener is still to run `then`."""
        query = "SELECT StudyInstanceUID FROM waiting WHERE listener = ? ORDER BY StudyInstanceUID"
        return [study for (study,) in self.connection.execute(query, (listener,))]

    def wait_for(self, listener: str, study: str) -> None:
        """Remembers that a listener is to run `then` for a study."""
        with self.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO waiting VALUES (?, ?)", (listener, study))

    def wait_no_more(self, listener: str, studies: Iterable[str]) -> None:
        """Forgets studies for which `then` ran."""
        with self.transaction() as connection:
            rows = ((listener, study) for study in studies)
            connection.executemany("DELETE FROM waiting WHERE listener = ? AND StudyInstanceUID = ?", rows)

    def intend_to_place(self, made: Iterable[tuple[Step, Made]], run: int) -> None:
        """Note complete files that are about to get their final names."""
        with self.transaction() as connection:
            connection.executemany(intents.COMPLETE, (intents.completed(step, each, run) for step, each in made))

    def record(self, outcomes: Iterable[tuple[Step, Put | Removed | StepError]], run: int) -> None:
        """Remembers what became of steps, all at once and at once: it survives whatever becomes of this process.

        Of a step that was not done, what is known of an earlier success stays."""
        done, removed, failed, at = [], [], [], now()
        settled_steps: list[tuple[int, int]] = []
        failed_steps: list[tuple[int, int]] = []
        for step, outcome in outcomes:
            (failed_steps if isinstance(outcome, StepError) else settled_steps).append((run, step.number))
            operation = step.operation
            what = (operation.destination, step.action, step.SOPInstanceUID)
            match outcome:
                case Put():
                    source = (operation.source, *operation.stamp, outcome.source_sha256)
                    put = (outcome.sha256, step.fingerprint, *outcome.stamp)
                    adopt = isinstance(operation, PutFile) and operation.adopt
                    done.append((*what, step.delivered_uid, *source, *put, adopt, outcome.young, run, at))
                case Removed():
                    removed.append((operation.destination,))
                case StepError():
                    failed.append((*what, str(outcome), run, at))
        with self.transaction() as connection:
            connection.executemany(PUT, done)
            connection.executemany("DELETE FROM done WHERE kind = 'file' AND target = ?", removed)
            settled = [*(row[:1] for row in done), *removed]
            connection.executemany(SUCCEEDED, (("file", *destination, "") for destination in settled))
            connection.executemany("DELETE FROM repair WHERE destination = ?", settled)
            connection.executemany(NOT_PUT, failed)
            connection.executemany(intents.DONE, settled_steps)
            connection.executemany(intents.FAILED, failed_steps)

    def record_sent(self, outcomes: Iterable[tuple[Step, int | None, str | None, bool]], run: int) -> None:
        """Remembers what became of instances that were sent: the status by which the node has it, or None and why not.

        And whether it was tried. The run of one that failed is the last in which it was tried, 0 if it never was.
        """
        at = now()
        with self.transaction() as connection:
            for step, status, message, tried in outcomes:
                operation, node = step.operation, step.operation.destination
                what = (node, step.delivered_uid, step.action, step.SOPInstanceUID)
                if status is None:
                    connection.execute(NOT_SENT, (*what, message, run if tried else None, at))
                    continue
                connection.execute(SENT, (*what, operation.source, *operation.stamp, step.fingerprint, status, run, at))
                connection.execute(SUCCEEDED, ("instance", *what[:2]))

    def failed_at(self, node: str) -> dict[str, int]:
        """The SOPInstanceUIDs of what was sent to a node and failed, with the last run in which each was tried."""
        query = "SELECT SOPInstanceUID, run FROM failed WHERE kind = 'instance' AND target = ? AND run > 0"
        return dict(self.connection.execute(query, (node,)).fetchall())

    def record_retrieved(self, action: str, outcomes: Iterable[tuple[Step, str | None]], run: int) -> None:
        """Remembers why instances did not come. Which did the index knows; here is only how many an action has brought."""
        at, came, failed = now(), [], []
        for step, message in outcomes:
            match step.operation:
                case RetrieveInstance(node):
                    if message is None:
                        came.append(("arrival", node, step.SOPInstanceUID))
                    else:
                        failed.append((node, step.SOPInstanceUID, action, message, run, at))
        with self.transaction() as connection:
            connection.executemany(SUCCEEDED, came)
            connection.executemany(NOT_ARRIVED, failed)
            if came:
                connection.execute(BROUGHT, (action, len(came), at))

    def unconfirmed(self, node: str, action: str, run: int) -> Iterator[tuple[str, str]]:
        """Yield what an action sent to a node in a run and the node has not confirmed: the delivered and the indexed UID."""
        query = (
            "SELECT member, SOPInstanceUID FROM done WHERE kind = 'instance' AND target = ? AND action = ? AND run = ?"
            f" AND NOT confirmed AND member > ? ORDER BY member LIMIT {AT_ONCE}"
        )
        last = ""
        # No cursor stays open: between two instances others may be confirmed.
        while members := self.connection.execute(query, (node, action, run, last)).fetchall():
            yield from members
            last = members[-1][0]

    def confirm(self, node: str, uids: Iterable[str]) -> None:
        """Record that a node has instances; `uids` are those that were delivered."""
        with self.transaction() as connection:
            connection.executemany(
                "UPDATE done SET confirmed = 1 WHERE kind = 'instance' AND target = ? AND member = ?",
                ((node, uid) for uid in uids),
            )

    def lose(self, node: str, action: str, messages: Mapping[str, str], run: int) -> None:
        """Record that a node lacks instances that it had accepted; `messages` are by the UIDs that were delivered."""
        at = now()
        with self.transaction() as connection:
            for uid, message in messages.items():
                for (own,) in connection.execute(LOST, (node, uid)).fetchall():
                    connection.execute(NOT_SENT, (node, uid, action, own, message, run, at))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Durable once it is left; one within another is part of it. Raises DatabaseError if the disk is full, or fails."""
        if self.connection.in_transaction:
            yield self.connection
            return
        try:
            with self.connection:
                self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
        except sqlite3.Error as error:
            raise DatabaseError(f"cannot write to the ledger: {error}; the next run finds out what was done") from None


def now() -> str:
    """The time as the ledger writes it: UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
