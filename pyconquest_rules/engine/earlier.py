"""States of earlier versions are carried over: a second run after an update does nothing either."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from functools import cache

from pyconquest_rules.index.store.foreign import Object, objects

FORMATS = ("1", "2", "3")

SENT = """
CREATE TABLE sent (
    node TEXT, SOPInstanceUID TEXT, action TEXT, size INT, mtime_ns INT, status INT, confirmed INT, run INT, at TEXT,
    PRIMARY KEY (node, SOPInstanceUID)) WITHOUT ROWID
"""

INTENT = """
CREATE TABLE IF NOT EXISTS intent (
    run INT, step INT, destination TEXT, action TEXT, SOPInstanceUID TEXT, source BLOB, source_size INT, source_mtime_ns INT,
    sha256 TEXT, fingerprint TEXT, size INT, mtime_ns INT, inode TEXT, PRIMARY KEY (run, step)) WITHOUT ROWID
"""

FLAGS = (
    "CREATE TABLE IF NOT EXISTS adopted (destination TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS young (destination TEXT PRIMARY KEY) WITHOUT ROWID",
)

# Their texts, to the letter: a state with any other is refused.
MADE = (
    """CREATE TABLE done (
    destination TEXT PRIMARY KEY, action TEXT, SOPInstanceUID TEXT, source BLOB, source_size INT, source_mtime_ns INT,
    sha256 TEXT, fingerprint TEXT, size INT, mtime_ns INT, run INT, at TEXT) WITHOUT ROWID""",
    """CREATE TABLE failed (
    destination TEXT PRIMARY KEY, action TEXT, SOPInstanceUID TEXT, message TEXT, run INT, at TEXT) WITHOUT ROWID""",
    SENT,
    *FLAGS,
    INTENT,
)

ASIDE = ("done", "failed")
"""Tables whose names are those of today's."""

# `failed.destination` was a path, "NODE UID", or "from NODE UID": of what was sent and retrieved, the UID is the last word.
CARRY = """
INSERT INTO done SELECT 'file', destination, '', action, SOPInstanceUID, SOPInstanceUID, source, source_size, source_mtime_ns,
    sha256, sha256, fingerprint, CASE size WHEN -1 THEN source_size ELSE size END, mtime_ns, NULL, NULL,
    destination IN (SELECT destination FROM adopted), size = -1, destination IN (SELECT destination FROM young), run, at
    FROM old_done;
INSERT INTO done SELECT 'instance', node, SOPInstanceUID, action, SOPInstanceUID, SOPInstanceUID, NULL, size, mtime_ns,
    NULL, NULL, NULL, size, mtime_ns, status, confirmed, 0, 0, 0, run, at FROM sent;
INSERT OR REPLACE INTO failed SELECT
    CASE WHEN action GLOB 'send.*' THEN 'instance' WHEN action GLOB 'retrieve.*' THEN 'arrival' ELSE 'file' END,
    CASE WHEN action GLOB 'send.*' THEN substr(destination, 1, length(destination) - length(SOPInstanceUID) - 1)
        WHEN action GLOB 'retrieve.*' THEN substr(destination, 6, length(destination) - length(SOPInstanceUID) - 6)
        ELSE destination END,
    CASE WHEN action GLOB 'send.*' OR action GLOB 'retrieve.*' THEN SOPInstanceUID ELSE '' END,
    action, SOPInstanceUID, message, run, at FROM old_failed;
INSERT INTO brought SELECT substr(key, length('brought by ') + 1), json_extract(value, '$[0]'), json_extract(value, '$[1]')
    FROM state WHERE key GLOB 'brought by *';
DELETE FROM state WHERE key GLOB 'brought by *';
DROP TABLE old_done; DROP TABLE old_failed; DROP TABLE sent; DROP TABLE adopted; DROP TABLE young;
"""

# Nothing was transformed yet.
CARRY_INTENTS = """
INSERT INTO intent SELECT run, step, destination, action, SOPInstanceUID, SOPInstanceUID, source, source_size, source_mtime_ns,
    sha256, sha256, fingerprint, size, mtime_ns, inode FROM old_intent
"""


@cache
def made(later: tuple[str, ...]) -> frozenset[Object]:
    """Return what states of earlier formats may hold beside the tables of today that `later` makes."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for table in (*MADE, *later):
            connection.execute(table)
        return frozenset(objects(connection))


def carry_over(connection: sqlite3.Connection, found: str, tables: Iterable[str], intent: str, to: str) -> None:
    """Carry a state of an earlier format over to `tables` and the table of intents, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (now,) = connection.execute("SELECT value FROM state WHERE key = 'format'").fetchone()
        if now != found:  # another process was first
            connection.execute("ROLLBACK")
            return
        if found != "3":
            _reshape(connection, found, tables)
        connection.execute(INTENT)
        connection.execute("ALTER TABLE intent RENAME TO old_intent")
        connection.execute(intent)
        connection.execute(CARRY_INTENTS)
        connection.execute("DROP TABLE old_intent")
        connection.execute("UPDATE state SET value = ? WHERE key = 'format'", (to,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _reshape(connection: sqlite3.Connection, found: str, tables: Iterable[str]) -> None:
    """Carry formats 1 and 2, which had a table for each kind of what was done."""
    if found == "1":  # before anything was sent
        connection.execute(SENT)
    for table in FLAGS:
        connection.execute(table)
    for name in ASIDE:
        connection.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
    for table in tables:
        connection.execute(table)
    for statement in CARRY.split(";"):
        connection.execute(statement)
