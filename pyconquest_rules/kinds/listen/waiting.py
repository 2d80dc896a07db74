"""The studies for which a listener is still to run `then`. They are in the state, so that they survive a restart."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.errors import DatabaseError

LONGEST = 3600.0
"""No study waits longer than so many seconds for another try."""


class Waiting:
    """Which studies have been quiet for long enough. Threads of many associations may call it at once.

    If `then` fails it is tried again: after `quiet` seconds, and then each time after twice as many, up to LONGEST.
    """

    def __init__(self, base: Path, listener: str, quiet: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Studies that an earlier listener of this name left are waited for as if they had just come.

        Raises DatabaseError if the state cannot be read.
        """
        self.base, self.listener, self.quiet, self.clock = base, listener, quiet, clock
        with Ledger(base) as ledger:
            self._due = dict.fromkeys(ledger.runs.waiting(listener), clock() + quiet)
        self._tried, self._failures = set[str](), 0
        self._lock = Lock()

    def came(self, study: str) -> bool:
        """Notes that something of a study came, and returns whether nothing of it was waited for."""
        with self._lock:
            new = study not in self._due
            self._due[study] = self.clock() + self.quiet
            self._tried.discard(study)
            if new:
                # The instance is stored and indexed: that a restart would forget the study is no reason to refuse it.
                with suppress(DatabaseError, sqlite3.Error), Ledger(self.base, write=True) as ledger:
                    ledger.runs.wait_for(self.listener, study)
        return new

    def seconds(self) -> float | None:
        """In how many seconds `then` is due, 0 if it is; None if nothing is waited for."""
        with self._lock:
            return max(0.0, min(self._due.values()) - self.clock()) if self._due else None

    def due(self) -> list[str]:
        """Return the studies that `then` is to run for; none of them is waited for meanwhile.

        A run does what failed before, too.
        """
        with self._lock:
            now = self.clock()
            due = [study for study, at in self._due.items() if at <= now]
            studies = [study for study in self._due if study in self._tried or study in due] if due else []
            for study in studies:
                del self._due[study]
        return studies

    def done(self, studies: list[str]) -> None:
        """Notes that `then` ran for studies. Those of which more came meanwhile are still waited for."""
        with self._lock:
            self._failures = 0
            self._tried.difference_update(studies)
            with suppress(DatabaseError, sqlite3.Error), Ledger(self.base, write=True) as ledger:
                ledger.runs.wait_no_more(self.listener, [study for study in studies if study not in self._due])

    def again(self, studies: list[str]) -> float:
        """Lets studies for which `then` failed wait for another try; returns in how many seconds that is."""
        with self._lock:
            seconds = min(self.quiet * 2.0 ** min(self._failures, 30), LONGEST)
            self._failures += 1
            for study in studies:
                if study not in self._due:
                    self._due[study] = self.clock() + seconds
                    self._tried.add(study)
        return seconds
