"""Reading many files: they go to the workers in chunks, and what was read comes back in order.

A worker may be killed, by the system that runs out of memory or by a file that breaks what reads it. What was lost with it is
read again, nothing else at the same time, and halved until the one file is known that kills whoever reads it.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path

from pyconquest_rules.errors import SourceError
from pyconquest_rules.index.header import Header, Reader, Reason, Rejected, Wanted, reader
from pyconquest_rules.index.rt import MODALITY
from pyconquest_rules.index.walk import File
from pyconquest_rules.index.workers import Workers

RT_OBJECTS = ("RTSTRUCT", "RTPLAN", "RTDOSE")

CHUNKS_IN_FLIGHT = 16

# Where so many files in a row kill who reads them, it is not they that are broken.
MOST_KILLERS = 20

Chunk = tuple[str, list[File]]
Read = list[tuple[File, Header | str]]
_Running = deque[tuple[Chunk, Future[Read]]]


class Reading:
    """The reading of so many files by `workers`. Use as a context manager."""

    def __init__(self, workers: Workers, files: int, wanted: Wanted, roots: Mapping[str, Path]) -> None:
        self.workers, self.files, self.wanted, self.roots = workers, files, wanted, roots
        self.executor, self.killers = workers(files), 0

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.shutdown()

    def in_order(self, chunks: Iterable[Chunk]) -> Iterator[tuple[str, Read]]:
        """What was read of `chunks`, each the name of a root and files below it, in their order; workers are a few chunks ahead.

        A file that kills its worker has a reason in place of a header. Raises SourceError where every worker is killed.
        """
        running: _Running = deque()
        for chunk in chunks:
            running.append((chunk, self._start(chunk)))
            if len(running) == CHUNKS_IN_FLIGHT:
                yield from self._next(running)
        while running:
            yield from self._next(running)

    def _next(self, running: _Running) -> Iterator[tuple[str, Read]]:
        """The first of what is running; where it was lost all of it, so that what was lost can be read alone."""
        lost = _is_lost(running[0][1])
        if lost:
            self._restart()
        for _ in range(len(running) if lost else 1):
            chunk, future = running.popleft()
            yield chunk[0], self._alone(chunk) if _is_lost(future) else future.result()

    def _start(self, chunk: Chunk) -> Future[Read]:
        name, files = chunk
        try:
            return self.executor.submit(read_all, os.fsencode(self.roots[name]), files, self.wanted)
        except BrokenExecutor as error:
            future: Future[Read] = Future()
            future.set_exception(error)
            return future

    def _restart(self) -> None:
        self.executor.shutdown()
        self.executor = self.workers(self.files)

    def _alone(self, chunk: Chunk) -> Read:
        """Reads files while nothing else is read."""
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
            why = "a process that was reading files was killed, perhaps as there was too little memory"
            raise SourceError(f"{why}; what was read is in the index, and the next run does the rest")
        return [(files[0], Reason.READER_KILLED.value)]


def _is_lost(future: Future[Read]) -> bool:
    return isinstance(future.exception(), BrokenExecutor)


def read_all(root: bytes, files: Sequence[File], wanted: Wanted) -> Read:
    """In a worker: the header of each file, or the reason why there is none."""
    reads = reader(wanted)
    inside = root.rstrip(b"/") + b"/"
    return [(file, _header(inside + file.path, reads)) for file in files]


def _header(path: bytes, reader: Reader) -> Header | str:
    try:
        header = reader.read(path)
    except Rejected as rejected:
        return rejected.reason.value
    wanted = reader.wanted
    modality = header.values[wanted.paths.index(MODALITY)] if wanted.content else None
    if modality not in RT_OBJECTS:
        return header
    from pyconquest_rules.index.content import digest

    return header._replace(content=digest(path, str(modality)))
