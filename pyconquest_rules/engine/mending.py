"""From what was found to what can be mended: by the usual steps, out of the bytes that were put there once."""

import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator

from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.hashing import hash_of
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.verify import Finding, Verified


class Mending:
    """What was found missing or changed, in a temporary file: it may be more than memory holds."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect("", isolation_level=None)
        self.connection.execute(
            "CREATE TABLE found (destination TEXT PRIMARY KEY, rotten INT, trouble TEXT, size INT, mtime_ns INT) WITHOUT ROWID"
        )

    def noted(self, findings: Iterable[Verified], ledger: Ledger) -> Iterator[Verified]:
        """Pass on what is found; then the ledger doubts what only its bytes told from what was put there.

        What changed may be replaced from then on, as long as it stays as it was found. What cannot be repaired is neither
        doubted nor replaced: its source must not be taken for what was put.
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
        """The destinations for which there are the bytes."""
        for (destination,) in self.connection.execute("SELECT destination FROM found WHERE trouble IS NULL"):
            yield destination

    def troubles(self) -> Iterator[tuple[str, str]]:
        """The destinations for which there are none, and why."""
        yield from self.connection.execute("SELECT destination, trouble FROM found WHERE trouble IS NOT NULL")


def _trouble(source: bytes, stamp: Stamp, sha256: str) -> str | None:
    """Why a source does not have the bytes any more that it had."""
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):  # a row of the ledger may be anybody's
            return "the source is not a regular file"
        if Stamp.of(status) != stamp:
            return "the source changed since"
        return None if hash_of(source) == sha256 else "the source holds other bytes too, with the same size and time"
    except FileNotFoundError:
        return "the source is gone"
    except OSError as error:
        return f"the source cannot be read: {os.strerror(error.errno or 0)}"
