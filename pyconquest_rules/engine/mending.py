"""`verify --repair`: the findings that ordinary steps can repair, because the source still has the bytes."""

import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator

from pyconquest_rules.archives.names import divided
from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.sources import Changed, digest_of, is_unchanged
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.verified import Finding, Verified


class Mending:
    """The missing and changed files, in a temporary file: there may be more of them than memory can hold."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect("", isolation_level=None)
        self.connection.execute(
            "CREATE TABLE found (destination TEXT PRIMARY KEY, rotten INT, trouble TEXT, size INT, mtime_ns INT) WITHOUT ROWID"
        )

    def noted(self, findings: Iterable[Verified], ledger: Ledger) -> Iterator[Verified]:
        """Pass on the findings; then record in the ledger which files differ although their stamp is as recorded.

        A changed file may be replaced from then on, as long as it stays as it was found. A file that cannot be repaired is left
        alone: its source must not be taken for what was put there.
        """
        for found in findings:
            if found.finding in (Finding.MISSING, Finding.CHANGED):
                row = (
                    found.destination,
                    found.rotten,
                    _trouble(*ledger.origin(found.destination)),
                    *(found.there or (None, None)),
                )
                self.connection.execute("INSERT OR REPLACE INTO found VALUES (?, ?, ?, ?, ?)", row)
            yield found
        rotten = self.connection.execute("SELECT destination FROM found WHERE rotten AND trouble IS NULL")
        ledger.doubt(destination for (destination,) in rotten)
        ledger.allow_repair(
            self.connection.execute("SELECT destination, size, mtime_ns FROM found WHERE size IS NOT NULL AND trouble IS NULL")
        )

    def mendable(self) -> Iterator[str]:
        """Yield the destinations whose source still has the bytes."""
        for (destination,) in self.connection.execute("SELECT destination FROM found WHERE trouble IS NULL"):
            yield destination

    def troubles(self) -> Iterator[tuple[str, str]]:
        """Yield the destinations that cannot be repaired, and why."""
        yield from self.connection.execute("SELECT destination, trouble FROM found WHERE trouble IS NOT NULL")


def _trouble(source: bytes, stamp: Stamp, sha256: str) -> str | None:
    """Return why a source no longer has the recorded bytes; None if it has, or if only the plan knows, as of many sources."""
    if not source:
        return None
    try:
        if not stat.S_ISREG(os.stat(divided(source)[0]).st_mode):  # the ledger may come from somebody else
            return "the source is not a regular file"
        if not is_unchanged(source, stamp):
            return "the source changed since"
        return None if digest_of(source) == sha256 else "the source changed too, with the same size and time"
    except FileNotFoundError:
        return "the source is gone"
    except Changed as error:
        return str(error)
    except OSError as error:
        return f"the source cannot be read: {os.strerror(error.errno or 0)}"
