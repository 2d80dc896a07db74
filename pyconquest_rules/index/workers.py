"""Who reads the files, this process for a few, others for many; and how what they read comes back in order."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import ParamSpec, TypeVar

from pyconquest_rules.errors import SourceError
from pyconquest_rules.index.header import Header, Reader, Rejected, Wanted, reader
from pyconquest_rules.index.rt import MODALITY
from pyconquest_rules.index.walk import File

RT_OBJECTS = ("RTSTRUCT", "RTPLAN", "RTDOSE")

P = ParamSpec("P")
T = TypeVar("T")

# Fewer files are read sooner than a process is started that could help.
WORTH_A_PROCESS = 1000
CHUNKS_IN_FLIGHT = 16

Read = list[tuple[File, Header | str]]


class Here(Executor):
    """Does everything at once, in this process."""

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> Future[T]:
        """A Future that is done."""
        future: Future[T] = Future()
        try:
            future.set_result(function(*arguments, **keywords))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asks for the result
            future.set_exception(error)
        return future


def here(files: int) -> Executor:
    """This process, however many files there are."""
    return Here()


def processes(files: int) -> Executor:
    """As many processes as there are processors, where the files are worth it."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if files < WORTH_A_PROCESS or workers < 2:
        return Here()
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """In a worker: ends it when the process that it works for is killed; it would wait for work for ever."""
    if parent := multiprocessing.parent_process():
        Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


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
    reads = reader(wanted)
    return [(file, _header(os.path.join(root, file.path), reads)) for file in files]


def _header(path: bytes, reader: Reader) -> Header | str:
    wanted = reader.wanted
    try:
        header = reader.read(path)
    except Rejected as rejected:
        return rejected.reason.value
    modality = header.values[wanted.paths.index(MODALITY)] if wanted.content else None
    if modality not in RT_OBJECTS:
        return header
    from pyconquest_rules.index.content import digest

    return header._replace(content=digest(path, str(modality)))
