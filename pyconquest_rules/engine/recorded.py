"""A part of the ledger that is written in transactions, each of which is durable once it ends."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pyconquest_rules.errors import DatabaseError


class Recorded:
    """Tables of a ledger on an open connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction that is durable at its end, or take part in the one that runs. Raises DatabaseError if that fails."""
        if self.connection.in_transaction:
            yield self.connection
            return
        try:
            with self.connection:
                self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
        except sqlite3.Error as error:
            raise DatabaseError(f"cannot write to the ledger: {error}; the next run finds out what was done") from None


def now() -> str:
    """Return the time as the ledger writes it: UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
