"""The studies for which a listener has yet to run `then`. They are stored in the state and survive a restart."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.errors import DatabaseError

LONGEST = 3600.0
"""The longest wait for a retry, in seconds."""


class Waiting:
    """Finds the studies that have been quiet for long enough. Threads of many associations may share it.

    If `then` fails, it is tried again after `quiet` seconds, and then each time after twice as many, up to LONGEST.
    """

    def __init__(self, base: Path, listener: str, quiet: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Load the studies that an earlier listener of this name left, as if they had just arrived.

        Raises DatabaseError if the state cannot be read.
        """
        self.base, self.listener, self.quiet, self.clock = base, listener, quiet, clock
        with Ledger(base) as ledger:
            self._due = dict.fromkeys(ledger.runs.waiting(listener), clock() + quiet)
        self._tried, self._failures = set[str](), 0
        self._lock = Lock()

    def came(self, study: str) -> bool:
        """Record that an instance of a study arrived. Return whether the study was not waiting yet."""
        with self._lock:
            new = study not in self._due
            self._due[study] = self.clock() + self.quiet
            self._tried.discard(study)
            if new:
                # The instance is stored and indexed; it is not refused because a restart would forget the study.
                with suppress(DatabaseError, sqlite3.Error), Ledger(self.base, write=True) as ledger:
                    ledger.runs.wait_for(self.listener, study)
        return new

    def seconds(self) -> float | None:
        """Return the seconds until `then` is due, or None if no study waits."""
        with self._lock:
            return max(0.0, min(self._due.values()) - self.clock()) if self._due else None

    def due(self) -> list[str]:
        """Return the studies to run `then` for. They no longer wait.

        Studies whose run failed before are included.
        """
        with self._lock:
            now = self.clock()
            due = [study for study, at in self._due.items() if at <= now]
            studies = [study for study in self._due if study in self._tried or study in due] if due else []
            for study in studies:
                del self._due[study]
        return studies

    def done(self, studies: list[str]) -> None:
        """Record that `then` ran for studies. Those that grew meanwhile still wait."""
        with self._lock:
            self._failures = 0
            self._tried.difference_update(studies)
            with suppress(DatabaseError, sqlite3.Error), Ledger(self.base, write=True) as ledger:
                ledger.runs.wait_no_more(self.listener, [study for study in studies if study not in self._due])

    def again(self, studies: list[str]) -> float:
        """Let studies wait for a retry after `then` failed. Return the seconds until then."""
        with self._lock:
            seconds = min(self.quiet * 2.0 ** min(self._failures, 30), LONGEST)
            self._failures += 1
            for study in studies:
                if study not in self._due:
                    self._due[study] = self.clock() + seconds
                    self._tried.add(study)
        return seconds
