"""Killed workers: their files are read again, and the file that kills them is named."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from pyconquest_rules.disk.file import File
from pyconquest_rules.errors import SourceError
from pyconquest_rules.events import silent
from pyconquest_rules.headers.header import Header, Wanted
from pyconquest_rules.headers.opening import Reason
from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
from pyconquest_rules.index.scan.chunks import MOST_KILLERS, Chunk, Reading, read_headers
from pyconquest_rules.index.scan.scan import Scan
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.scan.workers import Workers, here
from pyconquest_rules.index.store.schema import schema
from pyconquest_rules.index.store.store import Store
from tests.conftest import Instance

NUMBER, CHUNK = 60, 8


class Perilous(Executor):
    """Return a pool of two processes that die when they read certain files."""

    def __init__(self, deadly: frozenset[bytes]) -> None:
        self.pool, self.deadly = ProcessPoolExecutor(2, mp_context=get_context("forkserver")), deadly

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **_: Any) -> "Future[Any]":
        return self.pool.submit(perilous, self.deadly, function, *arguments)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.pool.shutdown(wait, cancel_futures=cancel_futures)


def perilous(deadly: frozenset[bytes], function: Callable[..., Any], root: bytes, files: list[File]) -> Any:
    """Kill the worker if a file is deadly. "*" is any file, "" even no file."""
    if b"" in deadly or any(deadly & {file.path, b"*"} for file in files):
        os.kill(os.getpid(), signal.SIGKILL)
    return function(root, files)


def workers(*deadly: bytes, limit: int = 100) -> Workers:
    """Workers that are started at most this many times."""
    starts = iter(range(limit))

    def start(files: int) -> Executor:
        assert next(starts, None) is not None, "they are started again and again"
        return Perilous(frozenset(deadly))

    return start


@pytest.fixture
def chunks(instance: Instance, tmp_path: Path) -> list[Chunk]:
    """Sixty instances in chunks of eight, of two roots in turn."""
    paths = [instance(f"{number % 16 // CHUNK}/{number:02}.dcm").relative_to(tmp_path) for number in range(NUMBER)]
    files = [File(os.fsencode(path.name), (tmp_path / path).stat().st_size, 1) for path in paths]
    return [(str(start % 16 // CHUNK), files[start : start + CHUNK]) for start in range(0, NUMBER, CHUNK)]


def outcomes(workers: Workers, chunks: list[Chunk], root: Path) -> Iterator[tuple[bytes, str]]:
    """Return the files in order, each with "read" or the reason why it was not read."""
    with Reading(workers, iter(chunks), partial(read_headers, Wanted(())), {name: root / name for name in "01"}) as reading:
        for name, read in reading.in_order():
            assert name in "01"
            for file, header in read:
                yield file.path, "read" if isinstance(header, Header) else header


def expected(*killers: bytes) -> list[tuple[bytes, str]]:
    paths = [b"%02d.dcm" % number for number in range(NUMBER)]
    return [(path, Reason.READER_KILLED if path in killers else "read") for path in paths]


@pytest.mark.parametrize(
    "deadly", [[], [b"00.dcm"], [b"59.dcm"], [b"20.dcm", b"23.dcm", b"40.dcm"]], ids=["none", "first", "last", "several"]
)
def test_a_file_that_kills_its_worker_is_named_and_all_others_are_read(
    chunks: list[Chunk], tmp_path: Path, deadly: list[bytes]
) -> None:
    assert list(outcomes(workers(*deadly), chunks, tmp_path)) == expected(*deadly)


def test_if_every_worker_is_killed_no_file_is_blamed(chunks: list[Chunk], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="was killed, perhaps because memory ran out"):
        list(outcomes(workers(b"", limit=10), chunks, tmp_path))


def test_if_every_file_kills_its_worker_reading_ends(chunks: list[Chunk], tmp_path: Path) -> None:
    one_by_one = [(name, [file]) for name, files in chunks for file in files]
    told: list[tuple[bytes, str]] = []
    with pytest.raises(SourceError, match="was killed"):
        told.extend(outcomes(workers(b"*", limit=3 * MOST_KILLERS), one_by_one, tmp_path))
    assert [outcome for _, outcome in told] == [Reason.READER_KILLED] * (MOST_KILLERS - 1)


@pytest.mark.parametrize("workers", [here, lambda files: ThreadPoolExecutor(2)], ids=["here", "threads"])
def test_every_executor_reads_the_same(chunks: list[Chunk], tmp_path: Path, workers: Workers) -> None:
    assert list(outcomes(workers, chunks, tmp_path)) == expected()


def test_a_file_that_killed_its_worker_is_reported_and_read_again_by_the_next_run(chunks: list[Chunk], tmp_path: Path) -> None:
    def index(workers: Workers) -> tuple[dict[str, int], dict[str, int]]:
        with Store(tmp_path / "conquest.db", schema(parse(standard_text()))) as store:
            scan = Scan(store, silent)
            scan.run([Tree(name, tmp_path / name) for name in "01"], workers)
            return {name: number for name, number in scan.tally.counts.items() if number}, dict(scan.tally.reasons)

    assert index(workers(b"23.dcm")) == (
        {"seen": NUMBER, "read": NUMBER, "indexed": NUMBER - 1, "rejected": 1},
        {"reader-killed": 1},
    )
    assert index(here) == ({"seen": NUMBER, "read": 1, "indexed": 1, "unchanged": NUMBER - 1}, {})


ASK = """
import os, threading
from pyconquest_rules.index.scan.workers import pool

def is_forked():
    with pool() as workers:
        return workers.submit(os.getppid).result() == os.getpid()

if __name__ == "__main__":
    print(is_forked())
    done = threading.Event()
    threading.Thread(target=done.wait).start()
    print(is_forked())
    done.set()
"""


def test_a_worker_is_forked_only_while_no_other_thread_can_hold_a_lock(tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text(ASK)
    asked = subprocess.run([sys.executable, tmp_path / "ask.py"], capture_output=True, text=True, check=True)
    assert asked.stdout.split() == [str(sys.platform == "linux"), "False"]
