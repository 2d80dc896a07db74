"""Reading many files: workers get them in chunks, and the results come back in order.

A worker may be killed, because memory runs out or because a file crashes the reader. The lost chunks are read again with
nothing else running, and halved until the file is found that kills its reader.
"""

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import Generic, Self, TypeVar

from pyconquest_rules.dicom import unpadded
from pyconquest_rules.disk.file import File
from pyconquest_rules.disk.sources import header_of
from pyconquest_rules.errors import SourceError
from pyconquest_rules.headers.header import Header, Reader, Spoiled, Wanted, reader
from pyconquest_rules.headers.opening import Reason, Rejected
from pyconquest_rules.index.derived.rt import MODALITY
from pyconquest_rules.index.scan.workers import Workers
from pyconquest_rules.index.store.records import Record, Records, records
from pyconquest_rules.index.store.schema import Schema

RT_OBJECTS = ("RTSTRUCT", "RTPLAN", "RTDOSE")

CHUNKS_IN_FLIGHT = 16

MOST_KILLERS = 20
"""If this many files in a row kill their reader, the files are not the cause."""

T = TypeVar("T")

Chunk = tuple[str, list[File]]
"""The name of a root, and files below it."""

Read = list[T | str]
"""For each file, what was read or the reason why it was not."""

Reads = Callable[[bytes, Sequence[File]], Read[T]]
"""A function that reads files below a root. It can be pickled for worker processes."""

_Running = deque[tuple[Chunk, Future[Read[T]]]]


class Reading(Generic[T]):
    """Reads many files with `workers`, one chunk at a time. Use it as a context manager."""

    def __init__(self, workers: Workers, chunks: Iterator[Chunk], reads: Reads[T], roots: Mapping[str, Path]) -> None:
        first = list(islice(chunks, CHUNKS_IN_FLIGHT))
        self.workers, self.chunks, self.reads, self.roots = workers, chain(first, chunks), reads, roots
        self.files = sum(len(files) for _, files in first)
        self.executor, self.killers = workers(self.files), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.shutdown(cancel_futures=True)

    def in_order(self) -> Iterator[tuple[str, list[tuple[File, T | str]]]]:
        """Yield the chunks in order, each file with its result. Workers are a few chunks ahead.

        The result of a file that kills its worker is a reason. Raises SourceError if every worker is killed.
        """
        running: _Running[T] = deque()
        for chunk in self.chunks:
            running.append((chunk, self._start(chunk)))
            if len(running) == CHUNKS_IN_FLIGHT:
                yield from self._next(running)
        while running:
            yield from self._next(running)

    def _next(self, running: _Running[T]) -> Iterator[tuple[str, list[tuple[File, T | str]]]]:
        """Yield the first running chunk. If its worker was killed, yield all of them, each lost one after reading it alone."""
        lost = _is_lost(running[0][1])
        if lost:
            self._restart()
        for _ in range(len(running) if lost else 1):
            (name, files), future = running.popleft()
            yield name, list(zip(files, self._alone((name, files)) if _is_lost(future) else future.result(), strict=True))

    def _start(self, chunk: Chunk) -> Future[Read[T]]:
        name, files = chunk
        try:
            return self.executor.submit(self.reads, os.fsencode(self.roots[name]), files)
        except BrokenExecutor as error:
            future: Future[Read[T]] = Future()
            future.set_exception(error)
            return future

    def _restart(self) -> None:
        self.executor.shutdown()
        self.executor = self.workers(self.files)

    def _alone(self, chunk: Chunk) -> Read[T]:
        """Read files while no other worker is reading."""
        name, files = chunk
        future = self._start(chunk)
        if not _is_lost(future):
            self.killers = 0
            return future.result()
        self._restart()
        if len(files) > 1:
            half = len(files) // 2
            return self._alone((name, files[:half])) + self._alone((name, files[half:]))
        self.killers += 1
        if self.killers == MOST_KILLERS or _is_lost(self._start((name, []))):
            why = "a worker process was killed, perhaps because memory ran out"
            raise SourceError(f"{why}; the files read so far are in the index; run again to continue")
        return [Reason.READER_KILLED.value]


def _is_lost(future: Future[Read[T]]) -> bool:
    return isinstance(future.exception(), BrokenExecutor)


def read_headers(wanted: Wanted, root: bytes, files: Sequence[File]) -> Read[Header]:
    """Return the header of each file, or the reason why it was rejected."""
    reads, inside = reader(wanted), root.rstrip(b"/") + b"/"
    return [_header(inside + file.path, reads) for file in files]


def reads_records(schema: Schema) -> Reads[Record]:
    """Return a function that reads the record of each file."""
    return partial(_read_records, pickle.dumps(schema))


def _read_records(schema: bytes, root: bytes, files: Sequence[File]) -> Read[Record]:
    makes = _records(schema)
    found = read_headers(makes.wanted, root, files)
    return [makes.record(header) if isinstance(header, Header) else header for header in found]


@lru_cache(4)
def _records(schema: bytes) -> Records:
    """Return the Records of a pickled schema. Unpickling it for every chunk would take longer than the records."""
    return records(pickle.loads(schema))  # noqa: S301 - pickled by this program


def _header(path: bytes, reader: Reader) -> Header | str:
    try:
        return with_digest(header_of(path, reader), path, reader.wanted)
    except Spoiled as spoiled:
        return spoiled.flaw.value
    except Rejected as rejected:
        return rejected.reason.value


def with_digest(header: Header, path: bytes, wanted: Wanted) -> Header:
    """Return the header of a file, with the digest of its content if that is wanted."""
    found = header.values[wanted.paths.index(MODALITY)] if wanted.content else None
    modality = unpadded(found) if isinstance(found, str) else None
    if modality not in RT_OBJECTS:
        return header
    from pyconquest_rules.index.derived.content import digest

    return header._replace(content=digest(path, modality))
