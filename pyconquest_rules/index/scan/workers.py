"""Who reads the files, this process for a few, others for many."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from threading import active_count
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Workers = Callable[[int], Executor]
"""Who reads so many files, or more."""

# Fewer files are read here, if they are in the memory of the system, before processes that start could help; from a disk, or
# from one that is far away, processes would be sooner with fewer.
WORTH_PROCESSES = 1000


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
    """Processes where so many files are worth them, else this one."""
    return pool() if files >= WORTH_PROCESSES and _processors() > 1 else Here()


def pool() -> Executor:
    """As many processes as there are processors."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # A process that forks begins at once, with all that is imported here; it must not where another thread may hold a lock.
    method = "fork" if sys.platform == "linux" and active_count() == 1 else "forkserver"
    return ProcessPoolExecutor(_processors(), mp_context=get_context(method), initializer=_serve)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve() -> None:
    """In a worker: Ctrl-C is for the process that it works for, and when that is killed it ends, or would wait for ever."""
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
