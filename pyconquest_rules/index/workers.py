"""Who reads the files, this process for a few, others for many."""

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Workers = Callable[[int], Executor]
"""Who reads so many files."""

# Fewer files are read sooner than processes start that could help, by some tenths of a second; from a slow disk they are not.
WORTH_A_PROCESS = 1000


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
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    return ProcessPoolExecutor(workers, mp_context=get_context("forkserver"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """In a worker: ends it when the process that it works for is killed; it would wait for work for ever."""
    from multiprocessing import parent_process
    from multiprocessing.connection import wait
    from threading import Thread

    def wait_and_end(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    if parent := parent_process():
        Thread(target=wait_and_end, args=(parent.sentinel,), daemon=True).start()
