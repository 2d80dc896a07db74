"""The history: the runs of `apply` in the ledger, and the studies for which listeners must still run `then`."""

from collections.abc import Iterable
from dataclasses import dataclass

from pyconquest_rules.engine import intents
from pyconquest_rules.engine.recorded import Recorded, now

RUNS = """
SELECT number, started, finished, targets, done, unchanged, failed, blocked, bytes, coalesce(ended.ending, run.ending), reason
FROM run LEFT JOIN ended ON ended.run = run.number ORDER BY number DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `apply`, or one that could not begin.

    `ending` is "done", "interrupted", "killed", or None if it still runs or was just killed. With a reason it is "not begun" or
    "failed".
    """

    number: int
    started: str
    finished: str | None
    targets: str
    done: int
    unchanged: int
    failed: int
    blocked: int
    bytes: int
    ending: str | None
    reason: str | None


class Runs(Recorded):
    """The runs of one rules file."""

    def last(self, most: int = -1) -> list[Run]:
        """Return the runs, newest first, at most so many; all of them if `most` is negative."""
        return [Run(*row) for row in self.connection.execute(RUNS, (most,))]

    def begin(self, targets: str) -> int:
        """Record that a run began, and that runs without an end were killed. Return its number."""
        with self.transaction() as connection:
            connection.execute("UPDATE run SET ending = 'killed' WHERE ending IS NULL")
            return int(connection.execute("INSERT INTO run (started, targets) VALUES (?, ?)", (now(), targets)).lastrowid or 0)

    def finish(self, run: int, counts: dict[str, int], ending: str) -> None:
        """Record how a run ended."""
        values = (counts[name] for name in ("done", "unchanged", "failed", "blocked", "bytes"))
        with self.transaction() as connection:
            connection.execute(
                "UPDATE run SET finished = ?, done = ?, unchanged = ?, failed = ?, blocked = ?, bytes = ?, ending = ?"
                " WHERE number = ?",
                (now(), *values, ending, run),
            )
            connection.execute(intents.NOT_BEGUN, (run,))

    def note_end(self, run: int, targets: str, counts: dict[str, int], reason: str) -> None:
        """Record why a run failed; its number is 0 if it could not begin.

        The next run forgets the files that it moved, as after a kill, so that its row stays open.
        """
        with self.transaction() as connection:
            row = (now(), now(), targets, "not begun")
            insert = "INSERT INTO run (started, finished, targets, ending) VALUES (?, ?, ?, ?)"
            number = run or connection.execute(insert, row).lastrowid
            if run:
                values = (counts[name] for name in ("done", "unchanged", "failed", "blocked", "bytes"))
                connection.execute(
                    "UPDATE run SET finished = ?, done = ?, unchanged = ?, failed = ?, blocked = ?, bytes = ? WHERE number = ?",
                    (now(), *values, run),
                )
            ending = "failed" if run else "not begun"
            connection.execute("INSERT OR REPLACE INTO ended VALUES (?, ?, ?)", (number, ending, reason))

    def waiting(self, listener: str) -> list[str]:
        """Return the studies for which a listener must still run `then`."""
        query = "SELECT StudyInstanceUID FROM waiting WHERE listener = ? ORDER BY StudyInstanceUID"
        return [study for (study,) in self.connection.execute(query, (listener,))]

    def wait_for(self, listener: str, study: str) -> None:
        """Record that a listener must run `then` for a study."""
        with self.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO waiting VALUES (?, ?)", (listener, study))

    def wait_no_more(self, listener: str, studies: Iterable[str]) -> None:
        """Record that `then` ran for studies."""
        with self.transaction() as connection:
            rows = ((listener, study) for study in studies)
            connection.executemany("DELETE FROM waiting WHERE listener = ? AND StudyInstanceUID = ?", rows)
