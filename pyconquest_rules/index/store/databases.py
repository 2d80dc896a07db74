"""The one door to a database that may come from a stranger: an index or a state that was sent with the rules.

What can be wrong with its files is found before SQLite opens them. The connection then believes nothing of the schema: it is
`foreign` that compares it with ours before any other statement is run.
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
"""How the files are called that SQLite keeps beside a database."""

MOST_MEMORY = 128 * 1024 * 1024
"""All that SQLite may have in this process, in bytes: it writes to the disk what takes more, or fails."""

MOST_OBJECTS, LONGEST_TEXT = 10_000, 1 << 20
"""What a schema may hold: tables, indexes, views and triggers, and the bytes of the text of each."""

STEPS = 20 * MOST_OBJECTS
"""Instructions of SQLite's machine that reading such a schema takes at most."""

JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
READONLY_ROLLBACK = 776
"""SQLITE_READONLY_ROLLBACK: a killed writer left a journal, which a reader cannot roll back."""

WAL_VERSIONS, VERSIONS_AT = b"\x02\x02", 18
"""Where the header of a database in WAL mode has its write and read version (https://sqlite.org/fileformat.html, 1.3)."""

OURS = frozenset({"rules_index", "state"})


def connect(file: Path, *, read_only: bool = False, untouched: bool = False, timeout: float) -> sqlite3.Connection:
    """A connection that no schema and no link can make harmful; used by one thread at a time.

    `untouched`: it is read only, and no file is made beside it either, unless somebody is writing it.

    Raises DatabaseError for files that must not be opened, sqlite3.Error where SQLite fails.
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
    """Why a database must not be opened, and the way out; None if it may, or if it does not exist.

    SQLite follows links, also those of its own files: what it writes would go to where they lead.
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
                "it has another name by a hard link, and writing would change both;"
                f" make it a file of its own: cp {quote(str(file))} {new} && mv {new} {quote(str(file))}"
            )
    journal = file.with_name(file.name + "-journal")
    if _names_others(journal):
        return f"{journal.name} names other files, which SQLite would delete; remove it"
    return None


def _names_others(journal: Path) -> bool:
    """Whether a journal names a super-journal, which SQLite deletes once no database needs it. One of ours never does.

    Its last 8 bytes are then the magic number (https://sqlite.org/fileformat.html, 3).
    """
    with suppress(OSError), open(os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if os.fstat(file.fileno()).st_size > 2 * len(JOURNAL_MAGIC):
            file.seek(-len(JOURNAL_MAGIC), os.SEEK_END)
            return file.read() == JOURNAL_MAGIC
    return False


def may_use_wal(file: Path) -> bool:
    """Whether the processes that may open a database all run on this machine."""
    return sharing(file.parent) is Sharing.LOCAL


def is_wal(file: Path) -> bool:
    """Whether a database is in WAL mode."""
    with suppress(OSError), file.open("rb") as opened:
        opened.seek(VERSIONS_AT)
        return opened.read(len(WAL_VERSIONS)) == WAL_VERSIONS
    return False


def roll_back(file: Path, timeout: float) -> bool:
    """Rolls back what a killed writer of ours left; False if the database is not ours, which is not touched."""
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
    """Gives a database of ours a rollback journal, alone and so without shared memory. What is not ours stays as it is."""
    try:
        with closing(_opened(file, "rw", timeout, "PRAGMA locking_mode = EXCLUSIVE")) as connection:
            if not OURS.isdisjoint(_names(connection)):
                connection.execute("PRAGMA journal_mode = DELETE")
                file.with_name(f"{file.name}-shm").unlink(missing_ok=True)  # of a killed writer; nobody else has it open
    except sqlite3.Error as error:
        raise DatabaseError(
            f"cannot open {file}: it was made on a local disk, and lies on a network file system now; somebody who may"
            f" write it must run a command once while nobody else does ({error})"
        ) from None


def _names(connection: sqlite3.Connection) -> set[str]:
    return {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def _opened(file: Path, mode: str, timeout: float, before: str = "") -> sqlite3.Connection:
    """A connection on which nothing is run of a schema that could do harm. The schema is parsed, within limits."""
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
    except MemoryError:  # of SQLite, which has a limit
        connection.close()
        raise sqlite3.DatabaseError("its schema is too large") from None
    except UnicodeDecodeError:  # of what SQLite says of it
        connection.close()
        raise sqlite3.DatabaseError("its schema is damaged") from None
    except BaseException:
        connection.close()
        raise
    return connection
