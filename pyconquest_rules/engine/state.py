"""`state.db`: its tables, and how it is opened. It may come with somebody else's rules, or from an earlier version."""

import re
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

from pyconquest_rules.engine import earlier, intents, makers, members
from pyconquest_rules.index.store import databases
from pyconquest_rules.index.store.foreign import Object, objects

FORMAT = "4"
NAME = re.compile(r"[0-9a-f]{8}")

# The one shape of everything that was done. A file is a target without a member; at a node, each instance is a member.
# `member` is the SOPInstanceUID of what the node got, as is `delivered_uid`. `sha256` is of the bytes that were delivered,
# `source_sha256` of those of the source; `size` and `mtime_ns` are those of the file at the destination. `adopted`: the file
# was there before and was not made. `changed`: other bytes were found there, although size and mtime are as recorded. `young`:
# the source could have changed since without a new mtime.
DONE = """
CREATE TABLE done (
    kind TEXT, target TEXT, member TEXT, action TEXT, SOPInstanceUID TEXT, delivered_uid TEXT,
    source BLOB, source_size INT, source_mtime_ns INT, source_sha256 TEXT, sha256 TEXT, fingerprint TEXT, size INT, mtime_ns INT,
    status INT, confirmed INT, adopted INT DEFAULT 0, changed INT DEFAULT 0, young INT DEFAULT 0, run INT, at TEXT,
    PRIMARY KEY (kind, target, member)) WITHOUT ROWID
"""

FAILED = """
CREATE TABLE failed (
    kind TEXT, target TEXT, member TEXT, action TEXT, SOPInstanceUID TEXT, message TEXT, run INT, at TEXT,
    PRIMARY KEY (kind, target, member)) WITHOUT ROWID
"""

# How many instances an action has retrieved, and when it retrieved the last. The index knows which ones.
BROUGHT = "CREATE TABLE brought (action TEXT PRIMARY KEY, instances INT, last TEXT) WITHOUT ROWID"

TABLES = f"""
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE run (number INTEGER PRIMARY KEY AUTOINCREMENT, started TEXT, finished TEXT, targets TEXT,
    done INT DEFAULT 0, unchanged INT DEFAULT 0, failed INT DEFAULT 0, blocked INT DEFAULT 0, bytes INT DEFAULT 0, ending TEXT);
{DONE}; {FAILED}; {BROUGHT};
INSERT INTO state VALUES ('format', '{FORMAT}'), ('name', lower(hex(randomblob(4))));
"""

# The changed files that `verify --repair` found: exactly that content may be replaced.
REPAIR = "CREATE TABLE IF NOT EXISTS repair (destination TEXT PRIMARY KEY, size INT, mtime_ns INT) WITHOUT ROWID"

# Why runs failed or could not begin.
ENDED = "CREATE TABLE IF NOT EXISTS ended (run INTEGER PRIMARY KEY, ending TEXT, reason TEXT)"

# The files that commands wrote with `-o`: see `app.writing`.
WRITTEN = (
    "CREATE TABLE IF NOT EXISTS written (path BLOB, size INT, mtime_ns INT, PRIMARY KEY (path, size, mtime_ns)) WITHOUT ROWID"
)

# The studies for which listeners must still run `then`.
WAITING = """
CREATE TABLE IF NOT EXISTS waiting (listener TEXT, StudyInstanceUID TEXT, PRIMARY KEY (listener, StudyInstanceUID)) WITHOUT ROWID
"""

LATER = (ENDED, REPAIR, WAITING, WRITTEN, intents.TABLE, makers.TABLE, members.TABLE)
"""Tables that older states of this format may lack."""


def opened(file: Path, write: bool) -> sqlite3.Connection:
    """Open a state. If it does not exist and `write` is false, it is made in memory. Raises sqlite3.Error."""
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
    """Raise sqlite3.DatabaseError if a state has anything except our tables. Runs no other statement."""
    for found in objects(connection):
        if found not in _made() and found not in earlier.made(LATER):
            raise sqlite3.DatabaseError(
                f"it has {found}, which this version of the program does not make; if somebody else made the file, remove it"
            )


@cache
def _made() -> frozenset[Object]:
    """Return everything that a state of this version may have."""
    with closing(_prepared(sqlite3.connect(":memory:", isolation_level=None))) as connection:
        return frozenset(objects(connection))


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Create missing tables, or carry an earlier format over. Raises sqlite3.DatabaseError for a later format."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone():
        connection.executescript(f"BEGIN; {TABLES} COMMIT;")
    (found,) = connection.execute("SELECT value FROM state WHERE key = 'format'").fetchone() or (None,)
    if found in earlier.FORMATS:
        earlier.carry_over(connection, str(found), (DONE, FAILED, BROUGHT), intents.TABLE, FORMAT)
    elif found != FORMAT:
        raise sqlite3.DatabaseError("it is of another version of this program")
    for table in LATER:
        connection.execute(table)
    (name,) = connection.execute("SELECT value FROM state WHERE key = 'name'").fetchone() or (None,)
    if not NAME.fullmatch(str(name)):  # temporary files are named by it
        raise sqlite3.DatabaseError("it was changed by another program")
    return connection
