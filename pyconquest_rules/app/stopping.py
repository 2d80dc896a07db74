"""Let a run finish its current steps after Ctrl-C or SIGTERM."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread


@contextmanager
def stop_requested(woken: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C or SIGTERM has come, for a run to call between steps.

    `woken` is called when the signal comes. A second Ctrl-C raises KeyboardInterrupt at once. Outside the main thread, where
    Python cannot handle signals, the function always returns False.
    """
    received: list[int] = []

    def receive(number: int, frame: object) -> None:
        received.append(number)
        woken()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if current_thread() is not main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
