"""Reading many files: they go to the workers in chunks, and what was read comes back in order."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from pathlib import Path

from pyconquest_rules.errors import SourceError
from pyconquest_rules.index.header import Header, Rejected, Wanted, read
from pyconquest_rules.index.rt import MODALITY
from pyconquest_rules.index.walk import File

RT_OBJECTS = ("RTSTRUCT", "RTPLAN", "RTDOSE")

CHUNKS_IN_FLIGHT = 16

Read = list[tuple[File, Header | str]]


def in_order(
    executor: Executor, wanted: Wanted, roots: Mapping[str, Path], chunks: Iterable[tuple[str, list[File]]]
) -> Iterator[tuple[str, Read]]:
    """The headers of `chunks`, each the name of a root and files below it, in their order; the workers are a few chunks ahead.

    Raises SourceError where a worker was killed.
    """
    running: deque[tuple[str, Future[Read]]] = deque()
    try:
        for name, files in chunks:
            running.append((name, executor.submit(read_all, os.fsencode(roots[name]), files, wanted)))
            if len(running) == CHUNKS_IN_FLIGHT:
                first, future = running.popleft()
                yield first, future.result()
        for first, future in running:
            yield first, future.result()
    except BrokenExecutor:
        why = "a process that was reading files was killed, perhaps as there was too little memory"
        raise SourceError(f"{why}; what was read is in the index, and the next run does the rest") from None


def read_all(root: bytes, files: Sequence[File], wanted: Wanted) -> Read:
    """In a worker: the header of each file, or the reason why there is none."""
    return [(file, _header(os.path.join(root, file.path), wanted)) for file in files]


def _header(path: bytes, wanted: Wanted) -> Header | str:
    try:
        header = read(path, wanted)
    except Rejected as rejected:
        return rejected.reason.value
    modality = header.values[wanted.paths.index(MODALITY)] if wanted.content else None
    if modality not in RT_OBJECTS:
        return header
    from pyconquest_rules.index.content import digest

    return replace(header, content=digest(path, str(modality)))
