"""The time that a statement may take, also where SQLite does not come to ask."""

import math
import sqlite3
from threading import Event, Thread
from time import monotonic

AGAIN = 0.05


class Deadline:
    """Within it, what a connection computes is interrupted after `seconds`. SQLite then raises OperationalError, "interrupted".

    A thread does that: SQLite's own progress handler would have to be called so often that every query suffers.
    """

    def __init__(self, connection: sqlite3.Connection, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds
        self._over = Event()
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

    def __exit__(self, *of_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        # Who starts anew has all of the seconds: to look after so many is soon enough.
        while not self._over.wait(max(0.0, min(self._end - monotonic(), self._seconds))):
            if monotonic() >= self._end:
                # An interrupt between two statements is lost.
                self._connection.interrupt()
                self._over.wait(AGAIN)
