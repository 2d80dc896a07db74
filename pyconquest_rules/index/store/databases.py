"""Opening databases that may be hostile: an index or a state file that came with the rules. No other module opens them.

The files are checked before SQLite opens them, and the connection does not trust the schema. `foreign` compares the schema
with that of this program before any other statement is run.
"""

import os
import sqlite3
import stat
import sys
from contextlib import closing, suppress
from pathlib import Path
from shlex import quote

from pyconquest_rules.disk.filesystems import Sharing, sharing
from pyconquest_rules.errors import DatabaseError

ENDS = ("-wal", "-shm", "-journal")
"""The suffixes of the files that SQLite keeps beside a database."""

MOST_MEMORY = 128 * 1024 * 1024
"""The memory of SQLite in this process, in bytes. SQLite writes larger data to the disk, or fails."""

MOST_OBJECTS, LONGEST_TEXT = 10_000, 1 << 20
"""The limits of a schema: the number of tables, indexes, views and triggers, and the bytes of the text of each."""

STEPS = 20 * MOST_OBJECTS
"""The most instructions of SQLite's virtual machine that it takes to read such a schema."""

JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
READONLY_ROLLBACK = 776
"""SQLITE_READONLY_ROLLBACK: a killed writer left a journal, which a reader cannot roll back."""

WAL_VERSIONS, VERSIONS_AT = b"\x02\x02", 18
"""The write and read version of a database in WAL mode, and their offset (https://sqlite.org/fileformat.html, 1.3)."""

OURS = frozenset({"rules_index", "state"})


def connect(file: Path, *, read_only: bool = False, untouched: bool = False, timeout: float) -> sqlite3.Connection:
    """Return a connection that neither a schema nor a link can abuse. Use it from one thread at a time.

    With `untouched`, it is read-only and SQLite creates no file beside it, unless another process is writing.

    Raises DatabaseError for files that must not be opened, sqlite3.Error if SQLite fails.
    """
    if why := why_not(file, read_only=read_only):
        raise DatabaseError(f"cannot open {file}: {why}")
    if untouched:
        wal = file.with_name(f"{file.name}-wal")
        return _opened(file, "ro" if wal.exists() and wal.stat().st_size else "ro&immutable=1", timeout)
    if is_wal(file) and not may_use_wal(file):
        _leave_wal(file, timeout)
    return _opened(file, "ro" if read_only else "rwc", timeout)


def why_not(file: Path, *, read_only: bool = False) -> str | None:
    """Return why a database must not be opened and what to do; None if it may be opened or does not exist.

    SQLite follows links, even for its own files, and would write to their targets.
    """
    for path in (file, *(file.with_name(file.name + end) for end in ENDS)):
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"{error.strerror}"
        which = "it" if path == file else path.name
        if stat.S_ISLNK(status.st_mode):
            return f"{which} is a link; {'name the file itself' if path == file else f'remove it: rm {quote(str(path))}'}"
        if not stat.S_ISREG(status.st_mode):
            return f"{which} is not a regular file; {'name another one' if path == file else 'remove it'}"
        if status.st_nlink > 1 and path == file and not read_only:
            new = quote(f"{file}.new")
            return (
                "it has a second name (a hard link), and writing would change both;"
                f" make it a separate file: cp {quote(str(file))} {new} && mv {new} {quote(str(file))}"
            )
    journal = file.with_name(file.name + "-journal")
    if _names_others(journal):
        return f"{journal.name} names other files, which SQLite would delete; remove it"
    return None


def _names_others(journal: Path) -> bool:
    """Return whether a journal names a super-journal, which SQLite would delete. Journals of this program never do.

    The last 8 bytes of such a journal are the magic number (https://sqlite.org/fileformat.html, 3).
    """
    with suppress(OSError), open(os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if os.fstat(file.fileno()).st_size > 2 * len(JOURNAL_MAGIC):
            file.seek(-len(JOURNAL_MAGIC), os.SEEK_END)
            return file.read() == JOURNAL_MAGIC
    return False


def may_use_wal(file: Path) -> bool:
    """Return whether only processes of this machine can open a database."""
    return sharing(file.parent) is Sharing.LOCAL


def is_wal(file: Path) -> bool:
    """Return whether a database is in WAL mode."""
    with suppress(OSError), file.open("rb") as opened:
        opened.seek(VERSIONS_AT)
        return opened.read(len(WAL_VERSIONS)) == WAL_VERSIONS
    return False


def roll_back(file: Path, timeout: float) -> bool:
    """Roll back the transaction of a killed writer. Return False, and change nothing, if the database is not of this program."""
    if why_not(file):
        return False
    try:
        with closing(_opened(file, "ro&immutable=1", timeout)) as as_it_is:
            if OURS.isdisjoint(_names(as_it_is)):
                return False
        connect(file, timeout=timeout).close()
    except sqlite3.Error:
        return False
    return True


def _leave_wal(file: Path, timeout: float) -> None:
    """Switch a database of this program to a rollback journal. It is locked exclusively, so that no shared memory is needed.

    Other databases stay as they are.
    """
    try:
        with closing(_opened(file, "rw", timeout, "PRAGMA locking_mode = EXCLUSIVE")) as connection:
            if not OURS.isdisjoint(_names(connection)):
                connection.execute("PRAGMA journal_mode = DELETE")
                file.with_name(f"{file.name}-shm").unlink(
                    missing_ok=True
                )  # left by a killed writer; no other process has it open
    except sqlite3.Error as error:
        raise DatabaseError(
            f"cannot open {file}: it was created on a local disk but is on a network file system now ({error});"
            " run a command once as a user who may write it, while no other process uses it"
        ) from None


def _names(connection: sqlite3.Connection) -> set[str]:
    return {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def _opened(file: Path, mode: str, timeout: float, before: str = "") -> sqlite3.Connection:
    """Return a connection that runs no code of the schema. It parses the schema within limits."""
    name = f"{file.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(name, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute(f"PRAGMA hard_heap_limit = {MOST_MEMORY}")
        if sys.version_info >= (3, 12):
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        connection.execute(before)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, LONGEST_TEXT)
        connection.set_progress_handler(lambda: 1, STEPS)
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        connection.set_progress_handler(None, 0)
    except MemoryError:  # raised by SQLite, whose memory is limited
        connection.close()
        raise sqlite3.DatabaseError("its schema is too large") from None
    except UnicodeDecodeError:  # raised for SQLite's message about the schema
        connection.close()
        raise sqlite3.DatabaseError("its schema is damaged") from None
    except BaseException:
        connection.close()
        raise
    return connection
