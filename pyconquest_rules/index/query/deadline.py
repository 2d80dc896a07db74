"""Limits on the time and the temporary space of a statement. They hold even if SQLite does not call its progress handler."""

import math
import os
import sqlite3
import stat
from contextlib import suppress
from threading import Event, Thread
from time import monotonic

INTERRUPT_SECONDS, SPACE_SECONDS = 0.05, 0.01
"""The pauses between two interrupts of one statement, and between two checks of the temporary space."""

INTERRUPTED, TOO_MUCH_SPACE = "interrupted", "interrupted: temporary space"


class Deadline:
    """A context in which the statements of a connection are interrupted after `seconds`, or at `space` more temporary bytes.

    SQLite then raises OperationalError with the text INTERRUPTED, for the space with TOO_MUCH_SPACE. A thread watches, because
    SQLite's progress handler would have to be called so often that it slows down every query.
    """

    def __init__(self, connection: sqlite3.Connection, seconds: float, space: int | None = None) -> None:
        self._connection, self._seconds, self._space = connection, seconds, space
        self._over, self._full = Event(), False
        self._most = math.inf if space is None else _temporary() + space
        self._thread = Thread(target=self._watch, name="deadline", daemon=True)
        self.start()

    def start(self) -> None:
        """Start the time again."""
        self._end = monotonic() + self._seconds

    def stop(self) -> None:
        """Stop the time until the next `start`."""
        self._end = math.inf

    def __enter__(self) -> "Deadline":
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._over.set()
        self._thread.join()
        if self._full and isinstance(error, sqlite3.OperationalError) and str(error) == INTERRUPTED:
            raise sqlite3.OperationalError(TOO_MUCH_SPACE) from None

    def _watch(self) -> None:
        # `start` sets the end `seconds` later, so waiting that long never misses an end.
        pause = SPACE_SECONDS if self._space else math.inf
        while not self._over.wait(max(0.0, min(self._end - monotonic(), self._seconds, pause))):
            self._full = self._full or (self._space is not None and _temporary() > self._most)
            if self._full or monotonic() >= self._end:
                # An interrupt between two statements has no effect, so it is repeated.
                self._connection.interrupt()
                self._over.wait(INTERRUPT_SECONDS)


def _temporary() -> float:
    """Return the size of all open files of this process without a name. SQLite's temporary files have none."""
    total = 0
    with suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with suppress(OSError):
                status = os.fstat(int(name))
                total += status.st_size if stat.S_ISREG(status.st_mode) and not status.st_nlink else 0
    return total
