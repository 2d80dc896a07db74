"""What a plan asks of the world. Who answers is not its business."""

from collections.abc import Iterator
from sqlite3 import Connection
from typing import Protocol

from pyconquest_rules.facts import Entry
from pyconquest_rules.steps import Mode


class Facts(Protocol):
    """The ledger, and the disk below `outputs`."""

    def attach(self, connection: Connection) -> None:
        """Makes the ledger readable on a connection, as the database `ledger`.

        Its table `done` has every destination that was done and not undone since, `failed` those of steps that failed in their
        last run, `adopted` those where what was done stood already; a destination is the key of each.
        """

    def listing(self, folder: str) -> Iterator[Entry]:
        """What a folder, named as destinations are, holds; nothing where there is no folder. Links are not followed."""

    def entry(self, destination: str) -> Entry | None:
        """What stands at a destination, or None. Raises UnsafePath where it is not to be reached, as behind a link."""

    def is_made(self, mode: Mode, source: bytes, destination: str) -> bool:
        """Whether what stands at a destination is what the step would make of its source: read and compared byte by byte."""
