"""Ctrl-C and SIGTERM, as a question."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread


@contextmanager
def stop_asked(woken: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C and SIGTERM are a question that the run asks between steps; a second Ctrl-C ends at once.

    `woken` is called when they come.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        woken()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if current_thread() is not main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
