"""The ledger: what was done, to which destination, from which bytes, when and in which run. `.pyconquest-rules/state.db`."""

import fcntl
import json
import os
import re
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pyconquest_rules.disk.files import Made, Put, StepError
from pyconquest_rules.disk.filesystems import Sharing, sharing
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.disk.removing import Removed
from pyconquest_rules.disk.state_folder import FOLDER, checked, made
from pyconquest_rules.engine import intents, makers
from pyconquest_rules.errors import DatabaseError, Locked
from pyconquest_rules.index.store import databases
from pyconquest_rules.index.store.foreign import Object, objects
from pyconquest_rules.steps import PutFile, RetrieveInstance, Stamp, Step

FORMAT = "2"
NAME = re.compile(r"[0-9a-f]{8}")

# The size that is recorded where a file was found to hold other bytes, though it has the size and the time that it should.
DOUBTED = -1

# Before the name of an action that retrieves: the key in `state` of how many instances it has brought, and when the last.
BROUGHT = "brought by "

# So many instances are asked for in a row.
AT_ONCE = 500

# What a node has said that it has: by the status of a C-STORE, and `confirmed` by more than that.
SENT = """
CREATE TABLE sent (
    node TEXT, SOPInstanceUID TEXT, action TEXT, size INT, mtime_ns INT, status INT, confirmed INT, run INT, at TEXT,
    PRIMARY KEY (node, SOPInstanceUID)) WITHOUT ROWID
"""

# Of what is done, what stood there before and was not made.
ADOPTED = "CREATE TABLE IF NOT EXISTS adopted (destination TEXT PRIMARY KEY) WITHOUT ROWID"
# Of what is done, what `verify --repair` found changed: just that content may be replaced.
REPAIR = "CREATE TABLE IF NOT EXISTS repair (destination TEXT PRIMARY KEY, size INT, mtime_ns INT) WITHOUT ROWID"

# Of what is done, what could have changed since without a change of its time: its bytes are compared once more.
YOUNG = "CREATE TABLE IF NOT EXISTS young (destination TEXT PRIMARY KEY) WITHOUT ROWID"

# Why runs could not begin, or ended before their end.
ENDED = "CREATE TABLE IF NOT EXISTS ended (run INTEGER PRIMARY KEY, ending TEXT, reason TEXT)"

# The files that commands wrote where somebody said: see `written`.
WRITTEN = (
    "CREATE TABLE IF NOT EXISTS written (path BLOB, size INT, mtime_ns INT, PRIMARY KEY (path, size, mtime_ns)) WITHOUT ROWID"
)

# The studies for which listeners are still to run `then`.
WAITING = """
CREATE TABLE IF NOT EXISTS waiting (listener TEXT, StudyInstanceUID TEXT, PRIMARY KEY (listener, StudyInstanceUID)) WITHOUT ROWID
"""

RUNS = """
SELECT number, started, finished, targets, done, unchanged, failed, blocked, bytes, coalesce(ended.ending, run.ending), reason
FROM run LEFT JOIN ended ON ended.run = run.number ORDER BY number DESC LIMIT ?
"""

TABLES = f"""
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE run (number INTEGER PRIMARY KEY AUTOINCREMENT, started TEXT, finished TEXT, targets TEXT,
    done INT DEFAULT 0, unchanged INT DEFAULT 0, failed INT DEFAULT 0, blocked INT DEFAULT 0, bytes INT DEFAULT 0, ending TEXT);
CREATE TABLE done (
    destination TEXT PRIMARY KEY, action TEXT, SOPInstanceUID TEXT, source BLOB, source_size INT, source_mtime_ns INT,
    sha256 TEXT, fingerprint TEXT, size INT, mtime_ns INT, run INT, at TEXT) WITHOUT ROWID;
CREATE TABLE failed (
    destination TEXT PRIMARY KEY, action TEXT, SOPInstanceUID TEXT, message TEXT, run INT, at TEXT) WITHOUT ROWID;
{SENT};
INSERT INTO state VALUES ('format', '{FORMAT}'), ('name', lower(hex(randomblob(4))));
"""


# What was made stays so when it is found again.
ADOPT = """
INSERT OR IGNORE INTO adopted SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM done WHERE destination = ?1 AND SOPInstanceUID = ?2)
"""


# Without a run, that of an earlier failure stays.
NOT_SENT = """
INSERT OR REPLACE INTO failed VALUES (?1, ?2, ?3, ?4, coalesce(?5, (SELECT run FROM failed WHERE destination = ?1), 0), ?6)
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

    @property
    def doubted(self) -> bool:
        """Whether other bytes were found there: the recorded stamp is that of no file."""
        return self.stamp.size == DOUBTED


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
            self.connection = _open(file, write)
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
                "SELECT name, sql FROM sqlite_master WHERE name IN ('done', 'failed', 'sent', 'adopted', 'repair', 'young')"
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
            "SELECT destination, action, SOPInstanceUID, sha256, size, mtime_ns, run, at,"
            " destination IN (SELECT destination FROM young) FROM done"
            # what is left of a path without the letters at its end that are no slash: its folder
            " ORDER BY rtrim(destination, replace(destination, '/', '')), destination"
        )
        for destination, action, uid, sha256, size, mtime_ns, run, at, young in rows:
            yield Done(destination, action, uid, sha256, Stamp(size, mtime_ns), run, at, bool(young))

    def knows(self, destination: str) -> bool:
        """Whether something was put at a destination."""
        try:
            return self.connection.execute("SELECT 1 FROM done WHERE destination = ?", (destination,)).fetchone() is not None
        except UnicodeEncodeError:  # a name that is not UTF-8, and so none of ours
            return False

    def holder(self, destination: str) -> tuple[str, str, bytes] | None:
        """The action that put a file at a destination, its SOPInstanceUID and its source; None if none did."""
        query = "SELECT action, SOPInstanceUID, source FROM done WHERE destination = ?"
        row: tuple[str, str, bytes] | None = self.connection.execute(query, (destination,)).fetchone()
        return row

    def origin(self, destination: str) -> tuple[bytes, Stamp, str]:
        """The source of what was put at a destination, its stamp then, and the SHA-256 of its bytes."""
        row = self.connection.execute(
            "SELECT source, source_size, source_mtime_ns, sha256 FROM done WHERE destination = ?", (destination,)
        ).fetchone()
        return row[0], Stamp(row[1], row[2]), row[3]

    def doubt(self, destinations: Iterable[str]) -> None:
        """Remembers that other bytes than were put stand at destinations; until they are put there again."""
        with self.transaction() as connection:
            rows = ((DOUBTED, destination) for destination in destinations)
            connection.executemany("UPDATE done SET size = ? WHERE destination = ?", rows)

    def allow_repair(self, found: Iterable[tuple[str, int, int]]) -> None:
        """Remember destinations whose content may be replaced, with the size and mtime of what was found there."""
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO repair VALUES (?, ?, ?)", found)

    def totals(self) -> dict[str, dict[str, Any]]:
        """For each action of the ledger: how many destinations are done and failed, and when the last was done."""
        totals: dict[str, dict[str, Any]] = {}
        of_action = "SELECT action, at FROM done UNION ALL SELECT action, at FROM sent"
        for action, done, last in self.connection.execute(f"SELECT action, count(*), max(at) FROM ({of_action}) GROUP BY action"):
            totals[action] = {"done": done, "failed": 0, "last": last}
        for action, (done, last) in self._brought().items():
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
        done, adopted, removed, failed, young, at = [], [], [], [], [], now()
        settled_steps: list[tuple[int, int]] = []
        failed_steps: list[tuple[int, int]] = []
        for step, outcome in outcomes:
            (failed_steps if isinstance(outcome, StepError) else settled_steps).append((run, step.number))
            operation = step.operation
            what = (operation.destination, step.action, step.SOPInstanceUID)
            match outcome:
                case Put(sha256, stamp, is_young):
                    if is_young:
                        young.append((operation.destination,))
                    source = (operation.source, operation.stamp.size, operation.stamp.mtime_ns)
                    done.append((*what, *source, sha256, step.fingerprint, stamp.size, stamp.mtime_ns, run, at))
                    if isinstance(operation, PutFile) and operation.adopt:
                        adopted.append((operation.destination, step.SOPInstanceUID))
                case Removed():
                    removed.append((operation.destination,))
                case StepError():
                    failed.append((*what, str(outcome), run, at))
        with self.transaction() as connection:
            connection.executemany(ADOPT, adopted)
            connection.executemany("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", done)
            connection.executemany("DELETE FROM done WHERE destination = ?", removed)
            settled = [*(row[:1] for row in done), *removed]
            connection.executemany("DELETE FROM failed WHERE destination = ?", settled)
            connection.executemany("DELETE FROM repair WHERE destination = ?", settled)
            connection.executemany("DELETE FROM young WHERE destination = ?", settled)
            connection.executemany("INSERT INTO young VALUES (?)", young)
            stood = {destination for destination, _ in adopted}
            made = [row[:1] for row in done if row[0] not in stood]
            connection.executemany("DELETE FROM adopted WHERE destination = ?", [*made, *removed])
            connection.executemany("INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?, ?, ?)", failed)
            connection.executemany(intents.DONE, settled_steps)
            connection.executemany(intents.FAILED, failed_steps)

    def record_sent(self, outcomes: Iterable[tuple[Step, int | None, str | None, bool]], run: int) -> None:
        """Remembers what became of instances that were sent: the status by which the node has it, or None and why not.

        And whether it was tried. The run of one that failed is the last in which it was tried, 0 if it never was.
        """
        at = now()
        with self.transaction() as connection:
            for step, status, message, tried in outcomes:
                stamp, key = step.operation.stamp, f"{step.operation.destination} {step.SOPInstanceUID}"
                if status is None:
                    failure = (key, step.action, step.SOPInstanceUID, message, run if tried else None, at)
                    connection.execute(NOT_SENT, failure)
                    continue
                identity = (step.operation.destination, step.SOPInstanceUID, step.action)
                row = (*identity, stamp.size, stamp.mtime_ns, status, False, run, at)
                connection.execute("INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                connection.execute("DELETE FROM failed WHERE destination = ?", (key,))

    def failed_at(self, node: str) -> dict[str, int]:
        """The SOPInstanceUIDs of what was sent to a node and failed, with the last run in which each was tried."""
        query = "SELECT SOPInstanceUID, run FROM failed WHERE run > 0 AND destination > ? AND destination < ?"
        return dict(self.connection.execute(query, (f"{node} ", f"{node}!")).fetchall())  # "!" comes next to " "

    def record_retrieved(self, action: str, outcomes: Iterable[tuple[Step, str | None]], run: int) -> None:
        """Remembers why instances did not come. Which did the index knows; here is only how many an action has brought."""
        at, came, failed = now(), [], []
        for step, message in outcomes:
            match step.operation:
                case RetrieveInstance(node):
                    key = f"from {node} {step.SOPInstanceUID}"
                    if message is None:
                        came.append((key,))
                    else:
                        failed.append((key, action, step.SOPInstanceUID, message, run, at))
        with self.transaction() as connection:
            connection.executemany("DELETE FROM failed WHERE destination = ?", came)
            connection.executemany("INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?, ?, ?)", failed)
            if came:
                done, _ = self._brought().get(action, (0, None))
                value = json.dumps([done + len(came), at])
                connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (f"{BROUGHT}{action}", value))

    def _brought(self) -> dict[str, tuple[int, str | None]]:
        """For each action that retrieves: how many instances it has brought, and when the last."""
        rows = self.connection.execute(
            "SELECT substr(key, ?), value FROM state WHERE key GLOB ?", (len(BROUGHT) + 1, f"{BROUGHT}*")
        )
        return {action: tuple(json.loads(value)) for action, value in rows}

    def unconfirmed(self, node: str, action: str, run: int) -> Iterator[str]:
        """The SOPInstanceUIDs of what an action sent to a node in a run and the node has not confirmed."""
        query = (
            "SELECT SOPInstanceUID FROM sent WHERE node = ? AND action = ? AND run = ? AND NOT confirmed AND SOPInstanceUID > ?"
            f" ORDER BY SOPInstanceUID LIMIT {AT_ONCE}"
        )
        last = ""
        # No cursor stays open: between two instances others may be confirmed.
        while uids := [uid for (uid,) in self.connection.execute(query, (node, action, run, last))]:
            yield from uids
            last = uids[-1]

    def confirm(self, node: str, uids: Iterable[str]) -> None:
        """Remembers that a node says that it has instances."""
        with self.transaction() as connection:
            connection.executemany(
                "UPDATE sent SET confirmed = 1 WHERE node = ? AND SOPInstanceUID = ?", ((node, uid) for uid in uids)
            )

    def lose(self, node: str, action: str, messages: Mapping[str, str], run: int) -> None:
        """Remembers that a node does not have instances that it took, and what it says of each."""
        at = now()
        with self.transaction() as connection:
            for uid, message in messages.items():
                connection.execute("DELETE FROM sent WHERE node = ? AND SOPInstanceUID = ?", (node, uid))
                failure = (f"{node} {uid}", action, uid, message, run, at)
                connection.execute("INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?, ?, ?)", failure)

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


def _open(file: Path, write: bool) -> sqlite3.Connection:
    if not write and not file.exists():
        return _prepared(sqlite3.connect(":memory:", isolation_level=None))
    connection = databases.connect(file, timeout=30)
    try:
        _check_objects(connection)
        if write:
            connection.execute(f"PRAGMA journal_mode = {'WAL' if databases.may_use_wal(file) else 'DELETE'}")
            connection.execute("PRAGMA synchronous = FULL")
        return _prepared(connection)
    except BaseException:
        connection.close()
        raise


def _check_objects(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError if a state holds anything but the tables that we make. Runs no other statement."""
    for found in objects(connection):
        if found not in _made():
            raise sqlite3.DatabaseError(
                f"it has {found}, which this version of the program does not make; if somebody else made the file, remove it"
            )


@cache
def _made() -> frozenset[Object]:
    """All that a state may hold."""
    with closing(_prepared(sqlite3.connect(":memory:", isolation_level=None))) as connection:
        return frozenset(objects(connection))


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Make what is missing of a state. Raises sqlite3.DatabaseError for one of another version."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone():
        connection.executescript(f"BEGIN; {TABLES} COMMIT;")
    (found,) = connection.execute("SELECT value FROM state WHERE key = 'format'").fetchone() or (None,)
    if found == "1":  # before anything was sent
        connection.executescript(f"BEGIN; {SENT}; UPDATE state SET value = '{FORMAT}' WHERE key = 'format'; COMMIT;")
    elif found != FORMAT:
        raise sqlite3.DatabaseError("it is of another version of this program")
    for table in (ADOPTED, ENDED, REPAIR, WAITING, WRITTEN, YOUNG, intents.TABLE, makers.TABLE):
        connection.execute(table)
    (name,) = connection.execute("SELECT value FROM state WHERE key = 'name'").fetchone() or (None,)
    if not NAME.fullmatch(str(name)):  # temporary files are named by it
        raise sqlite3.DatabaseError("it was changed by another program")
    return connection


def now() -> str:
    """The time as the ledger writes it: UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


_held: set[int] = set()


def _let_go() -> None:
    """In a process that was forked while a run goes on: it must not hold the lock on when that run is killed."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(base: Path) -> Iterator[None]:
    """Holds the run lock of a rules file; a killed holder holds nothing.

    Raises Locked where another run holds it, DatabaseError where nothing can be written.
    """
    file = made(base) / "lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise Locked("another run of this rules file is going on; wait for it to end") from None
        raise DatabaseError(
            f"cannot lock {base / FOLDER}: {os.strerror(error.errno or 0)}; mount the file system with locks, or move the rules"
        ) from None
    _held.add(descriptor)
    try:
        with _machine_named(descriptor, file) if sharing(file.parent) is Sharing.UNLOCKED else nullcontext():
            yield
    finally:
        _held.remove(descriptor)
        os.close(descriptor)


@contextmanager
def _machine_named(descriptor: int, file: Path) -> Iterator[None]:
    """Within it the lock says which machine holds it, as other machines do not see a lock of this one.

    Raises Locked if another machine holds it, or did when its run was killed.
    """
    machine, holder = os.fsencode(socket.gethostname()), os.pread(descriptor, 256, 0)
    if holder not in (b"", machine):
        raise Locked(
            f"a run on the machine {holder.decode(errors='replace')!a} is going on, or was killed;"
            f" once none is going on there, remove {file}"
        )
    os.pwrite(descriptor, machine, 0)
    os.fsync(descriptor)
    try:
        yield
    finally:
        os.ftruncate(descriptor, 0)
