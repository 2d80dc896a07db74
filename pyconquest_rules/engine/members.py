"""The members of files that were made of many instances, in the ledger: recorded and forgotten with their file."""

import sqlite3
from collections.abc import Iterator, Sequence

from pyconquest_rules.content import PACKED, Assembled
from pyconquest_rules.disk.files import Put
from pyconquest_rules.steps import PutFile, Step

# Members of files that a run is about to place, beside their rows in `intent`.
TABLE = """
CREATE TABLE IF NOT EXISTS intent_member (
    run INT, step INT, target TEXT, member TEXT, action TEXT, SOPInstanceUID TEXT, delivered_uid TEXT, source BLOB,
    source_size INT, source_mtime_ns INT, source_sha256 TEXT, sha256 TEXT, fingerprint TEXT, size INT,
    PRIMARY KEY (run, step, member)) WITHOUT ROWID
"""

INTENDED = "INSERT OR REPLACE INTO intent_member VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
SETTLED = "DELETE FROM intent_member WHERE run = ? AND step = ?"
FORGOTTEN = "DELETE FROM done WHERE kind = 'member' AND target = ?"
# A file is young if any of its sources is.
RECORDED = """
INSERT OR REPLACE INTO done SELECT 'member', target, member, action, SOPInstanceUID, delivered_uid, source, source_size,
    source_mtime_ns, source_sha256, sha256, fingerprint, size, NULL, NULL, NULL, 0, 0,
    (SELECT young FROM done AS whole WHERE whole.kind = 'file' AND whole.target = intent_member.target), run, ?1
FROM main.intent_member
"""
# The members of placed files, as if the run had recorded them.
PLACED = (
    """
    DELETE FROM done WHERE kind = 'member' AND target IN (
        SELECT destination FROM main.intent JOIN temp.placed USING (run, step))
    """,
    f"{RECORDED} JOIN temp.placed USING (run, step) ORDER BY run",
)


def intend(connection: sqlite3.Connection, step: Step, put: Put, run: int) -> None:
    """Note the members of a file that is complete, or is there already."""
    connection.executemany(INTENDED, _rows(step, put, run))


def record(connection: sqlite3.Connection, done: Sequence[tuple[Step, Put]], run: int, at: str) -> None:
    """Replace the recorded members of files by those that they have now."""
    connection.executemany(FORGOTTEN, ((step.operation.destination,) for step, _ in done))
    for step, put in done:
        if put.parts is not None:
            if isinstance(step.operation, PutFile) and step.operation.adopt:  # nothing was intended
                intend(connection, step, put, run)
            connection.execute(f"{RECORDED} WHERE run = ?2 AND step = ?3", (at, run, step.number))
            connection.execute(SETTLED, (run, step.number))


def _rows(step: Step, put: Put, run: int) -> Iterator[tuple[object, ...]]:
    """Yield a row for each part of a file."""
    match step.operation:
        case PutFile(content=Assembled(parts=parts), destination=destination) if put.parts is not None:
            packed = PACKED.iter_unpack(put.parts)
            for (name, uid, content, _), (source, delivered, size) in zip(parts(), packed, strict=True):
                what = (name, step.action, uid, content.uid(uid), content.source, *content.stamp)
                yield run, step.number, destination, *what, source.hex(), delivered.hex(), step.fingerprint, size
