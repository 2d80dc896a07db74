"""Files that a run is about to place, recorded in the ledger beforehand: the next run recognizes what a killed run placed.

A row is written before the temporary file of a step, and completed when that file is: with its inode, size, mtime and SHA-256.
A file keeps its inode when it gets its final name. So a file at a destination is ours if it is that very file. Nobody else's
file is taken for ours, not even one with the same bytes.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress

from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.existing import is_left
from pyconquest_rules.disk.files import Made
from pyconquest_rules.disk.folders import Folders, opened
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.disk.young import COARSE, SECOND
from pyconquest_rules.engine import members
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.steps import PutFile, Step

# `inode` is text, because unsigned 64-bit numbers do not fit into a column. It is NULL until the temporary file is complete.
TABLE = """
CREATE TABLE IF NOT EXISTS intent (
    run INT, step INT, destination TEXT, action TEXT, SOPInstanceUID TEXT, delivered_uid TEXT, source BLOB, source_size INT,
    source_mtime_ns INT, source_sha256 TEXT, sha256 TEXT, fingerprint TEXT, size INT, mtime_ns INT, inode TEXT,
    PRIMARY KEY (run, step)) WITHOUT ROWID
"""

BEGUN = "INSERT OR REPLACE INTO intent (run, step, destination) VALUES (?, ?, ?)"
COMPLETE = "INSERT OR REPLACE INTO intent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
DONE = "DELETE FROM intent WHERE run = ? AND step = ?"
# A failed step may have placed its file, for instance if only the folder could not be synced.
FAILED = "DELETE FROM intent WHERE run = ? AND step = ? AND inode IS NULL"
# Steps that had not begun when a run ended.
NOT_BEGUN = "DELETE FROM intent WHERE run = ? AND inode IS NULL"

# The rows of placed files, as if the run had recorded them. The temporary table `placed` has the steps.
# It is not known when a killed run read a source: an mtime in whole seconds since the run began is young.
PLACED = f"""
INSERT OR REPLACE INTO done SELECT 'file', destination, '', action, SOPInstanceUID, delivered_uid, source, source_size,
    source_mtime_ns, source_sha256, sha256, fingerprint, size, mtime_ns, NULL, NULL, 0, 0,
    source_mtime_ns % {SECOND} = 0 AND source_mtime_ns > strftime('%s', started) * {SECOND} - {COARSE}, run, ?
FROM main.intent JOIN temp.placed USING (run, step) JOIN main.run ON number = run ORDER BY run
"""
STEPS_PLACED = "CREATE TEMP TABLE IF NOT EXISTS placed (run INT, step INT, PRIMARY KEY (run, step)) WITHOUT ROWID"
FILES_PLACED = "(SELECT destination FROM main.intent JOIN temp.placed USING (run, step))"
SETTLED = (
    f"DELETE FROM failed WHERE kind = 'file' AND target IN {FILES_PLACED}",
    f"DELETE FROM repair WHERE destination IN {FILES_PLACED}",
)

# Files that were placed but could not be made durable: their steps failed, and are tried again.
NOT_DURABLE = """
DELETE FROM temp.placed WHERE (run, step) IN (
    SELECT intent.run, step FROM main.intent JOIN main.failed ON failed.kind = 'file' AND failed.target = destination
    WHERE failed.run >= intent.run)
"""
FAILS = """
INSERT OR REPLACE INTO failed SELECT
    'file', destination, '', action, SOPInstanceUID, 'the destination cannot be made durable', run, ?
FROM intent WHERE run = ? AND step = ?
"""

# The tables that a placed file changes.
SHOWN = ("done", "failed", "repair")


def part_of(name: str, run: int, step: int) -> str:
    """Return the name of the temporary file of a step; `name` is that of the ledger."""
    return f"{part_prefix(name, run)}{step}.part"


def part_prefix(name: str, run: int | None = None) -> str:
    """Return the prefix of the temporary files of a ledger, or of one of its runs."""
    return f".pyconquest-rules-{name}-" if run is None else f".pyconquest-rules-{name}-{run}-"


def completed(step: Step, made: Made, run: int) -> tuple[object, ...]:
    """Return the row of a step whose temporary file is complete."""
    operation, put = step.operation, made.put
    source = (operation.source, *operation.stamp, put.source_sha256)
    what = (operation.destination, step.action, step.SOPInstanceUID, step.delivered_uid)
    return run, step.number, *what, *source, put.sha256, step.fingerprint, *put.stamp, str(made.inode)


def noted(steps: Iterable[Step], run: int) -> Iterator[tuple[int, int, str]]:
    """Yield the rows of steps that are about to make a file."""
    for step in steps:
        if isinstance(step.operation, PutFile) and not step.operation.adopt:
            yield run, step.number, step.operation.destination


def has_any(connection: sqlite3.Connection) -> bool:
    """Return whether a run was killed, or is still running."""
    return connection.execute("SELECT 1 FROM intent").fetchone() is not None


def show(connection: sqlite3.Connection, outputs: Outputs, now: str) -> None:
    """Add the placed files that were not recorded to the tables as this connection reads them. Nothing is written."""
    _find(connection, outputs)
    connection.execute(NOT_DURABLE)
    for table in SHOWN:
        (made,) = connection.execute("SELECT sql FROM main.sqlite_master WHERE name = ?", (table,)).fetchone()
        connection.execute(made.replace("CREATE TABLE", "CREATE TEMP TABLE", 1))
        connection.execute(f"INSERT INTO temp.{table} SELECT * FROM main.{table}")
    _put_in(connection, now)


def settle(
    connection: sqlite3.Connection,
    outputs: Outputs,
    now: str,
    name: str,
    transaction: Callable[[], AbstractContextManager[sqlite3.Connection]],
) -> None:
    """Record the placed files durably, and delete the temporary files. The caller holds the run lock.

    Rows that cannot be checked, as of a missing output, stay for a later run.
    """
    _find(connection, outputs)
    rows = connection.execute("SELECT run, step, destination, (run, step) IN temp.placed FROM intent").fetchall()
    settled = set[tuple[int, int]]()
    with Folders(outputs) as folders:
        for run, step, destination, placed in rows:
            if _tidied(folders, destination, part_of(name, run, step), placed=placed):
                settled.add((run, step))
    # A file that could not be made durable is not recorded.
    connection.execute("DELETE FROM temp.placed")
    connection.executemany("INSERT INTO temp.placed VALUES (?, ?)", (row[:2] for row in rows if row[3] and row[:2] in settled))
    with transaction():
        _put_in(connection, now)
        connection.executemany(DONE, settled)
        connection.executemany(members.SETTLED, settled)
        connection.executemany(FAILS, ((now, *row[:2]) for row in rows if row[3] and row[:2] not in settled))


def _find(connection: sqlite3.Connection, outputs: Outputs) -> None:
    """Find the files that got their names, in `temp.placed`."""
    connection.execute(STEPS_PLACED)
    connection.execute("DELETE FROM temp.placed")
    complete = "SELECT run, step, destination, source, sha256, size, mtime_ns, inode FROM intent WHERE inode IS NOT NULL"
    for run, step, destination, source, sha256, size, mtime_ns, inode in connection.execute(complete).fetchall():
        if _is_there(outputs, destination, Stamp(size, mtime_ns), inode) and is_left(destination, source, sha256, outputs):
            connection.execute("INSERT INTO temp.placed VALUES (?, ?)", (run, step))


def _is_there(outputs: Outputs, destination: str, stamp: Stamp, inode: str) -> bool:
    """Return whether the file at a destination is the one that was made."""
    folder, _, name = destination.rpartition("/")
    try:
        with opened(outputs, folder) as descriptor:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except (OSError, UnsafePath):
        return False
    return str(status.st_ino) == inode and Stamp.of(status) == stamp


def _put_in(connection: sqlite3.Connection, now: str) -> None:
    connection.execute(PLACED, (now,))
    forget, put_in = members.PLACED
    connection.execute(forget)
    connection.execute(put_in, (now,))
    for statement in SETTLED:
        connection.execute(statement)


def _tidied(folders: Folders, destination: str, part: str, *, placed: bool) -> bool:
    """Delete the temporary file of a step, and make its file durable. Return whether both succeeded."""
    folder = destination.rpartition("/")[0]
    try:
        with opened(folders.outputs, folder, guard=folders.guard) as descriptor, suppress(FileNotFoundError):
            os.unlink(part, dir_fd=descriptor)
        if placed:
            folders.sync(folder)
    except FileNotFoundError:  # there is no such folder any more, if its output is there
        return os.path.isdir(folders.outputs.root(destination).real)
    except (OSError, UnsafePath):
        return False
    return True
