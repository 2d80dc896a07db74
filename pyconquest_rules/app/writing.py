"""Write files whose path the user names: reports, exports, saved plans, configurations. No other module writes them.

Sources, the files that the rules name, this program's own files and those that `apply` created are always refused. Any other
existing file is replaced only if this program wrote it and nobody has changed it since. The state has the path, the size and
the mtime of each written file. They are recorded before the file gets its name, so that a killed process cannot lose them.
"""

import fcntl
import os
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import BinaryIO

from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.identity import Identities
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.errors import DatabaseError, UsageError
from pyconquest_rules.rules.protected import of_another_project, protected_files, protected_folders
from pyconquest_rules.rules.rules import Rules

STANDARD_OUTPUT = frozenset({"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})


@contextmanager
def written(rules: Rules, file: Path, *, force: bool = False, regular: bool = False, make: bool = False) -> Iterator[BinaryIO]:
    """Yield a stream whose bytes become `file` at the end of the block. If the block raises, the file stays as it was.

    Standard output, pipes and devices are written directly. With `regular` they are refused, and `name` of the stream is the
    path of a temporary file. With `force`, a file that this program did not write is replaced too. With `make`, a missing
    folder is created.
    Raises UsageError if the file must not be replaced, or cannot be written.
    """
    if is_stdout(file) or _is_pipe(file):
        if regular:
            raise _refused(file, "it is not a regular file; name another file")
        sys.stdout.flush()
        with open(os.dup(sys.stdout.fileno()) if is_stdout(file) else file, "wb") as stream:
            yield stream
        return
    real = Path(os.path.realpath(file))
    _check(rules, file, real, force, make)
    with _part(file, real) as part:
        yield part
        part.flush()
        _check(rules, file, real, force)  # another program may have written it in the meantime
        _take_place(rules, part, real)


def is_stdout(file: Path) -> bool:
    """Whether a path stands for standard output."""
    return str(file) in STANDARD_OUTPUT


def check_outside(rules: Rules, file: Path) -> None:
    """Raise UsageError if a file is inside a source, under whatever path, or inside the state folder."""
    real = Path(os.path.realpath(file))
    for folder, what in protected_folders(rules):
        if Identities([os.path.realpath(folder)]).which_path(str(real)):
            raise _refused(file, f"it is inside {what}; name a file elsewhere")


def _is_pipe(file: Path) -> bool:
    with suppress(OSError):
        mode = file.stat().st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
    return False


def _check(rules: Rules, file: Path, real: Path, force: bool, make: bool = False) -> None:
    """Raise UsageError if a file must not be written."""
    for path, what in protected_files(rules):
        if _is_same(real, Path(os.path.realpath(path))):
            raise _refused(file, f"it is {what}; name another file")
    check_outside(rules, file)
    if why := of_another_project(real):
        raise _refused(file, f"{why}; name another file")
    if make:
        with suppress(OSError):
            real.parent.mkdir(parents=True, exist_ok=True)
    if not real.parent.is_dir():
        if real.parent.exists():
            raise _refused(file, f"{file.parent} is not a folder; name a file elsewhere")
        raise _refused(file, f"there is no folder {file.parent}; create it with: mkdir -p {quote(str(file.parent))}")
    try:
        status = real.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        raise _refused(file, f"it is a folder; name a file in it, such as {file / 'FILE'}")
    if not stat.S_ISREG(status.st_mode):
        raise _refused(file, "it is not a regular file; name another file")
    with Ledger(rules.base) as ledger:
        ledger.show_placed(rules.outputs)
        if any(ledger.knows(_name(rules, path)) for path in (real, Path(os.path.abspath(file)))):
            raise _refused(file, "apply created the existing file; name another file")
        known = _known(ledger, _name(rules, real))
    if not force and Stamp.of(status) not in known:
        why = "somebody changed it after this program wrote it" if known else "this program did not write the existing file"
        raise _refused(file, f"{why}; name another file, or use --force to replace the existing one")


def _refused(file: Path, why: str) -> UsageError:
    return UsageError(f"cannot write {file}: {why}")


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are the same file or folder. Equal paths are the same even if neither exists."""
    with suppress(OSError):
        return one == other or one.samefile(other)
    return False


@contextmanager
def _part(file: Path, real: Path) -> Iterator[BinaryIO]:
    """Yield an empty temporary file beside `real`. It is locked, and deleted at the end if it still has its temporary name.

    A killed process leaves the file unlocked, so that the next one can use it.
    """

    def opener(path: str, flags: int) -> int:
        descriptor = os.open(path, (flags & ~os.O_TRUNC) | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise _refused(file, "another command is writing it; wait for it to end") from None
        except OSError:  # a file system without locks
            pass
        return descriptor

    part = real.with_name(f".pyconquest-rules-{sha256(os.fsencode(real.name)).hexdigest()[:8]}.part")
    try:
        stream = open(part, "wb", opener=opener)  # noqa: SIM115 - closed below
    except OSError as error:
        raise _refused(file, f"{os.strerror(error.errno or 0)}; name a file elsewhere") from None
    with stream:
        try:
            if _is_other(part, stream):  # another process renamed it between our open and our lock
                raise _refused(file, "another command is writing it; wait for it to end")
            stream.truncate()
            yield stream
        finally:
            if not _is_other(part, stream):
                part.unlink()


def _is_other(path: Path, stream: BinaryIO) -> bool:
    try:
        return not os.path.samestat(path.lstat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return True


def _take_place(rules: Rules, part: BinaryIO, real: Path) -> None:
    """Record the complete temporary file in the state, then rename it, durably. It keeps the permissions of the replaced file."""
    with suppress(FileNotFoundError):
        os.fchmod(part.fileno(), stat.S_IMODE(real.stat().st_mode))
    os.fsync(part.fileno())
    status, name = os.fstat(part.fileno()), _name(rules, real)
    row = (os.fsencode(name), *Stamp.of(status))
    # A user who cannot write the state, because the rules are somebody else's, can still write a new file.
    with suppress(DatabaseError, sqlite3.Error), Ledger(rules.base, write=True) as ledger:
        ledger.connection.execute("INSERT OR IGNORE INTO written VALUES (?, ?, ?)", row)
    os.replace(part.name, real)
    with suppress(DatabaseError, sqlite3.Error), Ledger(rules.base, write=True) as ledger:
        ledger.connection.execute("DELETE FROM written WHERE path = ? AND (size, mtime_ns) != (?, ?)", row)
    folder = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _name(rules: Rules, path: Path) -> str:
    """Return the path of a file in the state: relative to the folder of the rules file, if the file is below it."""
    return str(path).removeprefix(f"{rules.base}/")


def _known(ledger: Ledger, name: str) -> set[Stamp]:
    """Return the sizes and mtimes of a file as this program wrote it; none if it never did."""
    with suppress(sqlite3.Error):
        rows = ledger.connection.execute("SELECT size, mtime_ns FROM written WHERE path = ?", (os.fsencode(name),))
        return {Stamp(size, mtime_ns) for size, mtime_ns in rows}
    return set()
