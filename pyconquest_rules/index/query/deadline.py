"""The time and the temporary space that a statement may take, also where SQLite does not come to ask."""

import math
import os
import sqlite3
import stat
from contextlib import suppress
from threading import Event, Thread
from time import monotonic

AGAIN, GLANCE = 0.05, 0.01

INTERRUPTED, TOO_MUCH_SPACE = "interrupted", "interrupted: temporary space"


class Deadline:
    """Within it, what a connection computes is interrupted after `seconds`, or once it has `space` more bytes in temporary files.

    SQLite then raises OperationalError, "interrupted"; for the space, TOO_MUCH_SPACE. A thread does that: SQLite's own progress
    handler would have to be called so often that every query suffers.
    """

    def __init__(self, connection: sqlite3.Connection, seconds: float, space: int | None = None) -> None:
        self._connection, self._seconds, self._space = connection, seconds, space
        self._over, self._full = Event(), False
        self._most = math.inf if space is None else _temporary() + space
        self._thread = Thread(target=self._watch, name="deadline", daemon=True)
        self.start()

    def start(self) -> None:
        """From now on the time counts anew."""
        self._end = monotonic() + self._seconds

    def stop(self) -> None:
        """Until the next `start` no time counts."""
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
        # Who starts anew has all of the seconds: to look after so many is soon enough.
        while not self._over.wait(max(0.0, min(self._end - monotonic(), self._seconds, GLANCE if self._space else math.inf))):
            self._full = self._full or (self._space is not None and _temporary() > self._most)
            if self._full or monotonic() >= self._end:
                # An interrupt between two statements is lost.
                self._connection.interrupt()
                self._over.wait(AGAIN)


def _temporary() -> float:
    """The bytes of the open files of this process that have no name, as those have in which SQLite sorts."""
    total = 0
    with suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with suppress(OSError):
                status = os.fstat(int(name))
                total += status.st_size if stat.S_ISREG(status.st_mode) and not status.st_nlink else 0
    return total
