"""Check a release by its own evidence, where there is neither index nor ledger: `verify FOLDER/`."""

import json
import os
import sqlite3
import stat
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import islice, zip_longest
from pathlib import Path

from pyconquest_rules.disk.hashing import hash_of, hashed, open_file
from pyconquest_rules.engine.verified import Finding, Verified
from pyconquest_rules.errors import UsageError
from pyconquest_rules.kinds.release import manifest, sums
from pyconquest_rules.kinds.release.sums import MANIFEST, RUN, SUMS

THREADS, IN_FLIGHT, TOGETHER = 4, 64, 16
MOST = 1 << 24  # bytes of run.json


def verify(root: Path) -> Iterator[Verified]:
    """Yield a finding for each file of a release, in the order of SHA256SUMS, then for files that it does not list.

    `run.json` has the digest of SHA256SUMS, and SHA256SUMS those of all other files. The manifest must have the
    same digests. Raises UsageError if the folder is not a release, or if a line of SHA256SUMS is not valid.
    """
    if not (root / SUMS).is_file():
        raise UsageError(f"{root} is not a release: it has no file {SUMS}")
    with closing(sqlite3.connect("", isolation_level=None)) as seen:
        seen.execute("PRAGMA journal_mode = OFF")
        seen.execute("CREATE TABLE file (path BLOB PRIMARY KEY, sha256 TEXT) WITHOUT ROWID")
        seen.execute("BEGIN")
        yield Verified(SUMS, Finding.OK if _is_of_the_run(root) else Finding.CHANGED)
        for found in _hashed(root, _listed(root, seen)):
            differs = found.destination == MANIFEST and found.finding is Finding.OK and not _agrees(root)
            yield Verified(MANIFEST, Finding.CHANGED) if differs else found
        yield from _extra(root, seen)


def _listed(root: Path, seen: sqlite3.Connection) -> Iterator[tuple[bytes, str]]:
    """Yield the lines of SHA256SUMS, and note their paths."""
    with (root / SUMS).open("rb") as stream:
        try:
            for path, digest in sums.read(stream):
                seen.execute("INSERT OR IGNORE INTO file VALUES (?, ?)", (path, digest))
                yield path, digest
        except ValueError as error:
            raise UsageError(f"{root / SUMS}: {error}") from None


def _hashed(root: Path, files: Iterator[tuple[bytes, str]]) -> Iterator[Verified]:
    """Yield the findings of files, several of which are read at a time, in their order."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    running = deque[Future[list[Verified]]]()
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            while some := [*islice(files, TOGETHER)]:
                running.append(pool.submit(_compared, folder, some))
                if len(running) == IN_FLIGHT:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
    finally:
        os.close(folder)


def _compared(folder: int, files: list[tuple[bytes, str]]) -> list[Verified]:
    return [Verified(os.fsdecode(path), _finding(folder, path, digest)) for path, digest in files]


def _finding(folder: int, path: bytes, digest: str) -> Finding:
    """Return the state of a file. A path that leads out of the release is not opened."""
    if path.startswith(b"/") or b"\0" in path or b".." in path.split(b"/"):
        return Finding.OUTSIDE
    try:
        with open_file(path, os.O_RDONLY | os.O_NONBLOCK, folder) as file:
            is_file = stat.S_ISREG(os.fstat(file).st_mode)
            return Finding.OK if is_file and hashed(file) == digest else Finding.CHANGED
    except (FileNotFoundError, NotADirectoryError):
        return Finding.MISSING
    except OSError:
        return Finding.CHANGED


def _is_of_the_run(root: Path) -> bool:
    """Return whether `run.json` has the digest of SHA256SUMS."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        with (root / RUN).open("rb") as file:
            run = json.loads(file.read(MOST))
        return bool(run["sha256"][SUMS] == hash_of(os.fsencode(root / SUMS)))
    return False


def _agrees(root: Path) -> bool:
    """Return whether the manifest has the files of SHA256SUMS that are not evidence, with their digests."""
    with (
        suppress(OSError, ValueError, TypeError),
        (root / MANIFEST).open(encoding="utf-8", errors="surrogateescape", newline="") as text,
        (root / SUMS).open("rb") as stream,
    ):
        listed = (line for line in sums.read(stream) if line[0].decode(errors="replace") not in sums.OTHERS)
        for row, line in zip_longest(manifest.of_files(manifest.read_rows(text)), listed):
            if row is None or line is None or (os.fsencode(row["path"]), row["sha256"]) != line:
                return False
        return True
    return False


def _extra(root: Path, seen: sqlite3.Connection) -> Iterator[Verified]:
    """Yield the files below the root that SHA256SUMS does not list. Links to folders are not followed."""
    folders = [b""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(os.fsencode(root), folder)) as entries:
            for entry in entries:
                path = os.path.join(folder, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif (
                    path not in (SUMS.encode(), RUN.encode())
                    and not seen.execute("SELECT 1 FROM file WHERE path = ?", (path,)).fetchone()
                ):
                    yield Verified(os.fsdecode(path), Finding.EXTRA)
