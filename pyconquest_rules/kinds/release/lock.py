r"""The lock of a release: a sorted text file, made so that git can merge it and people can read its differences.

The head has lines that begin with "#". Then each line is a file of the release, with six fields separated by tabs: the
destination below the root, SOPInstanceUID, the SHA-256 of the source, a key of the patient, StudyInstanceUID and
SeriesInstanceUID. Lines are sorted bytewise. As in the output of sha256sum, a backslash, a line feed and a carriage return in
a destination are written as `\\`, `\n` and `\r`. The key of the patient is the beginning of the SHA-256 of PatientID: patients
can be counted, but anybody who guesses a PatientID can confirm the guess.
"""

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from itertools import filterfalse, takewhile, zip_longest
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from pyconquest_rules.errors import UsageError
from pyconquest_rules.kinds.release.sums import escaped, plain

if TYPE_CHECKING:
    from pyconquest_rules.index.query.selection import Sets

FIRST = b"# pyconquest-rules lock 1\n"
DATE = "date"
LEVELS = ("SOPInstanceUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID")
DIGEST, KEY = rb"[0-9a-f]{64}", rb"[0-9a-f]{12}"
LINE = re.compile(rb"(.+)\t(%b)\t(%b)\t(%b)\t(%b)\t(%b)\n" % (rb"[^\t]+", DIGEST, KEY, rb"[^\t]*", rb"[^\t]*"))

TABLE = "CREATE TABLE {} (destination BLOB, instance TEXT, sha256 TEXT, patient TEXT, study TEXT, series TEXT)"

# An instance may have several files. It has changed if it has one in both selections, and any of its files differs.
DIFFERENCES = """
CREATE TABLE change AS
WITH came AS (SELECT * FROM after EXCEPT SELECT * FROM before), went AS (SELECT * FROM before EXCEPT SELECT * FROM after)
SELECT DISTINCT instance, patient, study, series,
    CASE WHEN NOT EXISTS (SELECT 1 FROM before WHERE before.instance = either.instance) THEN 'added'
        WHEN NOT EXISTS (SELECT 1 FROM after WHERE after.instance = either.instance) THEN 'gone' ELSE 'changed' END AS what
FROM (SELECT * FROM came UNION ALL SELECT * FROM went) AS either
"""
COUNTS = """
SELECT what, count(DISTINCT instance), count(DISTINCT series), count(DISTINCT study), count(DISTINCT patient)
FROM change GROUP BY what ORDER BY what
"""


class Locked(NamedTuple):
    """A file of a release, as its lock has it. `destination` is below the root."""

    destination: bytes
    instance: str
    sha256: str
    patient: str
    study: str
    series: str


class Count(NamedTuple):
    """How many instances, series, studies and patients have a change: `added`, `gone` or `changed`."""

    what: str
    instances: int
    series: int
    studies: int
    patients: int


def patient_key(patient_id: str) -> str:
    """Return the key of a patient."""
    return sha256(patient_id.encode()).hexdigest()[:12]


def levels_of(sets: "Sets", uids: Set[str]) -> Mapping[str, tuple[str, str, str]]:
    """Return PatientID, StudyInstanceUID and SeriesInstanceUID of instances; each is "" if the index does not know it."""
    found: dict[str, tuple[str, str, str]] = dict.fromkeys(uids, ("", "", ""))
    for uid, *keys in sets.known(uids, *LEVELS):
        patient, study, series = (key or "" for key in keys)
        found[uid] = patient, study, series
    return found


class Differences:
    """The comparison of two selections, in a temporary database, so that neither is held in memory."""

    def __init__(self, before: Iterable[Locked], after: Iterable[Locked]) -> None:
        """Compare two selections. `counts` has only changes that occur."""
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("BEGIN")
        for name, rows in (("before", before), ("after", after)):
            self._connection.execute(TABLE.format(name))
            self._connection.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._connection.execute(f"CREATE INDEX {name}_instance ON {name} (instance)")
        self._connection.execute(DIFFERENCES)
        self.counts = tuple(Count(*row) for row in self._connection.execute(COUNTS))

    def __enter__(self) -> "Differences":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def instances(self) -> Iterator[tuple[str, str]]:
        """Yield each change and the SOPInstanceUID that has it, sorted."""
        yield from self._connection.execute("SELECT DISTINCT what, instance FROM change ORDER BY what, instance")


def write(stream: BinaryIO, head: Iterable[tuple[str, str]], files: Iterable[Locked]) -> int:
    """Write a lock and return its number of files. The lines are sorted outside memory."""
    stream.write(FIRST)
    for key, value in head:
        stream.write(f"# {key}\t{value}\n".encode())
    with closing(sqlite3.connect("", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("CREATE TABLE line (text BLOB PRIMARY KEY) WITHOUT ROWID")
        connection.execute("BEGIN")
        connection.executemany("INSERT OR IGNORE INTO line VALUES (?)", ((_line(file),) for file in files))
        number = 0
        for (text,) in connection.execute("SELECT text FROM line ORDER BY text"):
            stream.write(text)
            number += 1
    return number


def today() -> str:
    """Return the date of what is written now, in UTC: that of SOURCE_DATE_EPOCH if it is set.

    Raises UsageError if that is not valid.
    """
    seconds = os.environ.get("SOURCE_DATE_EPOCH") or time()
    try:
        return datetime.fromtimestamp(int(seconds), UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise UsageError("SOURCE_DATE_EPOCH must be a number of seconds since 1970") from None


def keep_date(stream: BinaryIO, earlier: Path) -> None:
    """Give a lock that was just written the date of an earlier one if nothing else differs. The date is the first of its head."""
    date = f"# {DATE}\t{head(earlier).get(DATE, '')}\n".encode()
    stream.flush()
    with open(stream.name, "rb") as new, earlier.open("rb") as old:
        lines = zip_longest(*(filterfalse(lambda line: line.startswith(b"# date\t"), file) for file in (new, old)))
        if len(date) == len(b"# date\t2026-01-01\n") and all(one == other for one, other in lines):
            stream.seek(len(FIRST))
            stream.write(date)


def read(path: Path) -> Iterator[Locked]:
    """Yield the files of a lock. Raises UsageError with the line if it is not a valid lock, such as after a merge conflict."""
    try:
        with path.open("rb") as stream:
            if stream.readline(len(FIRST)) != FIRST:
                raise UsageError(f"{path} is not a lock of this program")
            for number, line in enumerate(stream, 2):
                if line.startswith(b"# "):
                    continue
                if not (found := LINE.fullmatch(line)):
                    raise UsageError(f"{path}:{number}:1: not a valid line of a lock; resolve the merge, or lock again")
                destination, *fields = found.groups()
                yield Locked(plain(destination), *(field.decode(errors="replace") for field in fields))
    except OSError as error:
        raise UsageError(f"cannot read the lock {path}: {error.strerror}") from None


def head(path: Path) -> dict[str, str]:
    """Return the head of a lock: its keys and their values."""
    with path.open("rb") as stream:
        lines = [line.decode(errors="replace") for line in takewhile(lambda line: line.startswith(b"# "), stream)]
    return dict(line[2:].rstrip("\n").split("\t", 1) for line in lines if "\t" in line)


def is_lock(path: Path) -> bool:
    """Return whether an existing file begins as a lock does."""
    try:
        with path.open("rb") as stream:
            return stream.readline(len(FIRST)) == FIRST
    except OSError:
        return False


def _line(file: Locked) -> bytes:
    return b"\t".join((escaped(file.destination), *(field.encode() for field in file[1:]))) + b"\n"
