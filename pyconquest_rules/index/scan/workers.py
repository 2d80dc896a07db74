"""The executors that read files: this process for a few files, a pool of processes for many."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from threading import active_count
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Workers = Callable[[int], Executor]
"""A function that returns an executor for this many files or more."""

WORTH_PROCESSES = 1000
"""The number of files from which a pool is faster, if the files are cached. From a disk or a network it would be fewer."""


class Here(Executor):
    """An executor that runs everything immediately, in this process."""

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> Future[T]:
        """Return a finished Future."""
        future: Future[T] = Future()
        try:
            future.set_result(function(*arguments, **keywords))
        except Exception as error:  # noqa: BLE001 - raised for the caller of `result`
            future.set_exception(error)
        return future


def here(files: int) -> Executor:
    """Return this process as the executor for any number of files."""
    return Here()


def processes(files: int) -> Executor:
    """Return a pool if there are enough files and processors for one, else this process."""
    return pool() if files >= WORTH_PROCESSES and _processors() > 1 else Here()


def pool() -> Executor:
    """Return a pool with one process for each processor."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # A forked process starts at once, with all modules imported. Forking is unsafe if another thread may hold a lock.
    method = "fork" if sys.platform == "linux" and active_count() == 1 else "forkserver"
    return ProcessPoolExecutor(_processors(), mp_context=get_context(method), initializer=_serve)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve() -> None:
    """Set up a worker: it ignores Ctrl-C, which its parent handles, and ends when its parent is killed."""
    import gc
    import signal
    from multiprocessing import parent_process
    from multiprocessing.connection import wait
    from threading import Thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(200_000, 20, 100)

    def wait_and_end(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    if parent := parent_process():
        Thread(target=wait_and_end, args=(parent.sentinel,), daemon=True).start()
