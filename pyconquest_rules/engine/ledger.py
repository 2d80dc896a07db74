"""The ledger: every file that was made, from which bytes, when and in which run. `.pyconquest-rules/state.db`."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.files import Made, Put, StepError
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.disk.removing import Removed
from pyconquest_rules.disk.state_folder import checked, made
from pyconquest_rules.engine import intents, members, state
from pyconquest_rules.engine.instances import SUCCEEDED, Instances
from pyconquest_rules.engine.recorded import Recorded, now
from pyconquest_rules.engine.runs import Runs
from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.steps import PutFile, Step

# What was made stays so when it is found again.
PUT = """
INSERT OR REPLACE INTO done VALUES ('file', ?1, '', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, NULL, NULL,
    iif(?13, coalesce((SELECT adopted FROM done WHERE kind = 'file' AND target = ?1 AND SOPInstanceUID = ?3), 1), 0),
    0, ?14, ?15, ?16)
"""
NOT_PUT = "INSERT OR REPLACE INTO failed VALUES ('file', ?, '', ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Done:
    """A file that was made, as recorded."""

    destination: str
    action: str
    SOPInstanceUID: str
    sha256: str
    stamp: Stamp
    run: int
    at: str
    young: bool
    doubted: bool
    """Whether other bytes were found there although the stamp is as recorded."""


class Delivered(NamedTuple):
    """What was put at a destination: the instance, the UID and bytes that were delivered of it, and the digest of its source."""

    SOPInstanceUID: str
    delivered_uid: str
    sha256: str
    size: int
    source_sha256: str


class Ledger(Recorded):
    """The state of one rules file. Reading it makes nothing; the first run makes it."""

    def __init__(self, base: Path, *, write: bool = False) -> None:
        """`base` is the folder of the rules file. Raises DatabaseError where the state cannot be read."""
        file = (made(base) if write else checked(base)) / "state.db"
        try:
            super().__init__(state.opened(file, write))
        except sqlite3.Error as error:
            raise DatabaseError(f"cannot open {file}: {error}") from None
        self.runs, self.instances = Runs(self.connection), Instances(self.connection)
        self._shows_placed = False

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    @property
    def name(self) -> str:
        """The 8 hexadecimal digits that are part of the names of temporary files."""
        return str(self.connection.execute("SELECT value FROM state WHERE key = 'name'").fetchone()[0])

    def attach(self, connection: sqlite3.Connection) -> None:
        """Make this ledger readable on another connection, as the database `ledger`."""
        # As bytes: a path need not be UTF-8.
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
        """Read what a killed run placed but did not record as if it were recorded. Nothing is written."""
        if intents.has_any(self.connection):
            intents.show(self.connection, outputs, now())
            self._shows_placed = True

    def record_placed(self, outputs: Outputs) -> None:
        """Record what a killed run placed, and delete its temporary files. The caller holds the run lock."""
        if intents.has_any(self.connection):
            intents.settle(self.connection, outputs, now(), self.name, self.transaction)

    def intend(self, steps: Iterable[Step], run: int) -> None:
        """Record steps before the first of their temporary files is created."""
        with self.transaction() as connection:
            connection.executemany(intents.BEGUN, intents.noted(steps, run))

    def done(self) -> Iterator[Done]:
        """Yield the recorded files, folder by folder."""
        rows = self.connection.execute(
            "SELECT target, action, SOPInstanceUID, sha256, size, mtime_ns, run, at, young, changed FROM done WHERE kind = 'file'"
            # The folder: the path without the characters at its end that are not a slash.
            " ORDER BY rtrim(target, replace(target, '/', '')), target"
        )
        for destination, action, uid, sha256, size, mtime_ns, run, at, young, changed in rows:
            yield Done(destination, action, uid, sha256, Stamp(size, mtime_ns), run, at, bool(young), bool(changed))

    def knows(self, destination: str) -> bool:
        """Return whether a file at this destination is recorded."""
        try:
            query = "SELECT 1 FROM done WHERE kind = 'file' AND target = ?"
            return self.connection.execute(query, (destination,)).fetchone() is not None
        except UnicodeEncodeError:  # no recorded name is anything but UTF-8
            return False

    def holder(self, destination: str) -> tuple[str, str, bytes] | None:
        """Return the action that made the file at a destination, its SOPInstanceUID and its source, if it is recorded."""
        query = "SELECT action, SOPInstanceUID, source FROM done WHERE kind = 'file' AND target = ?"
        row: tuple[str, str, bytes] | None = self.connection.execute(query, (destination,)).fetchone()
        return row

    def made(self, destination: str, member: str = "") -> "Delivered | None":
        """Return what was put at a destination, or a member of the file there, if it is recorded."""
        row = self.connection.execute(
            "SELECT SOPInstanceUID, delivered_uid, sha256, size, source_sha256 FROM done"
            " WHERE kind = ? AND target = ? AND member = ?",
            ("member" if member else "file", destination, member),
        ).fetchone()
        return None if row is None else Delivered(*row)

    def origin(self, destination: str) -> tuple[bytes, Stamp, str]:
        """Return the source of the file at a destination, its stamp then, and the SHA-256 of its bytes then."""
        row = self.connection.execute(
            "SELECT source, source_size, source_mtime_ns, source_sha256 FROM done WHERE kind = 'file' AND target = ?",
            (destination,),
        ).fetchone()
        return row[0], Stamp(row[1], row[2]), row[3]

    def source_digest(self, destination: str, member: str, source: bytes, stamp: Stamp) -> str | None:
        """Return the SHA-256 of a source if a file was made of it at a destination when it had this stamp, which is not young.

        `member` is the name of what was made of it in that file, or "".
        """
        query = (
            "SELECT source_sha256 FROM done WHERE kind = ? AND target = ? AND member = ? AND source = ?"
            " AND source_size = ? AND source_mtime_ns = ? AND NOT young"
        )
        what = ("member" if member else "file", destination, member, source, *stamp)
        row: tuple[str | None] | None = self.connection.execute(query, what).fetchone()
        return row[0] if row else None

    def doubt(self, destinations: Iterable[str]) -> None:
        """Record that destinations have other bytes than were put there; until they are put there again."""
        with self.transaction() as connection:
            rows = ((destination,) for destination in destinations)
            connection.executemany("UPDATE done SET changed = 1 WHERE kind = 'file' AND target = ?", rows)

    def allow_repair(self, found: Iterable[tuple[str, int, int]]) -> None:
        """Record destinations whose content may be replaced, with the size and mtime that were found there."""
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO repair VALUES (?, ?, ?)", found)

    def totals(self) -> dict[str, dict[str, Any]]:
        """Return for each recorded action how many targets are done and failed, and when the last was done."""
        totals: dict[str, dict[str, Any]] = {}
        done_of = (
            "SELECT action, count(*), max(at) FROM done WHERE kind != 'member' GROUP BY action"
            " UNION ALL SELECT action, instances, last FROM brought"
        )
        for action, done, last in self.connection.execute(done_of):
            totals[action] = {"done": done, "failed": 0, "last": last}
        for action, failed in self.connection.execute("SELECT action, count(*) FROM failed GROUP BY action"):
            totals.setdefault(action, {"done": 0, "failed": 0, "last": None})["failed"] = failed
        return totals

    def sources(self, actions: Iterable[str], run: int | None = None) -> Iterator[bytes]:
        """Yield the sources of what actions did in a run, or, without a run, in those killed since the last one began."""
        rows = self.connection.execute(
            "SELECT source FROM done JOIN run ON run.number = done.run"
            " WHERE action IN (SELECT value FROM json_each(?)) AND (run.number = ?2 OR (?2 IS NULL AND ending IS NULL))",
            (json.dumps([*actions]), run),
        )
        return (source for (source,) in rows)

    def intend_to_place(self, made: Sequence[tuple[Step, Made]], run: int) -> None:
        """Note complete files that are about to get their final names."""
        with self.transaction() as connection:
            connection.executemany(intents.COMPLETE, (intents.completed(step, each, run) for step, each in made))
            for step, each in made:
                members.intend(connection, step, each.put, run)

    def record(self, outcomes: Iterable[tuple[Step, Put | Removed | StepError]], run: int) -> None:
        """Record the outcomes of steps in one durable transaction.

        If a step failed, the record of an earlier success stays.
        """
        done, removed, failed, at = [], [], [], now()
        put_files: list[tuple[Step, Put]] = []
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
                    put_files.append((step, outcome))
                    adopt = isinstance(operation, PutFile) and operation.adopt
                    done.append((*what, step.delivered_uid, *source, *put, adopt, outcome.young, run, at))
                case Removed():
                    removed.append((operation.destination,))
                case StepError():
                    failed.append((*what, str(outcome), run, at))
        with self.transaction() as connection:
            connection.executemany(PUT, done)
            members.record(connection, put_files, run, at)
            connection.executemany("DELETE FROM done WHERE kind = 'file' AND target = ?", removed)
            connection.executemany(members.FORGOTTEN, removed)
            settled = [*(row[:1] for row in done), *removed]
            connection.executemany(SUCCEEDED, (("file", *destination, "") for destination in settled))
            connection.executemany("DELETE FROM repair WHERE destination = ?", settled)
            connection.executemany(NOT_PUT, failed)
            connection.executemany(intents.DONE, settled_steps)
            connection.executemany(intents.FAILED, failed_steps)
