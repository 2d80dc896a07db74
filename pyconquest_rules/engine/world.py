"""What a plan asks of the world. Who answers is not its business."""

from collections.abc import Iterator
from sqlite3 import Connection
from typing import Protocol

from pyconquest_rules.content import Content
from pyconquest_rules.disk.facts import Entry, Gone
from pyconquest_rules.disk.outputs import Root
from pyconquest_rules.steps import Mode


class Facts(Protocol):
    """The ledger, and the disk below `outputs`."""

    def attach(self, connection: Connection) -> None:
        """Makes the ledger readable on a connection, as the database `ledger`.

        Its table `done` has every destination that was done and not undone since, `failed` those of steps that failed in their
        last run, `adopted` those where what was done stood already, `repair` those whose changed content may be replaced,
        `young` those whose times do not tell yet; a destination is the key of each.
        """

    def listing(self, folder: str) -> Iterator[Entry]:
        """What a folder, named as destinations are, holds; nothing where there is no folder. Links are not followed."""

    def nothing_in(self, root: Root) -> Gone | None:
        """Why no file can be in an output, as it is missing or empty; else None."""

    def entry(self, destination: str) -> Entry | None:
        """What stands at a destination, or None. Raises UnsafePath where it is not to be reached, as behind a link."""

    def is_left(self, destination: str, source: bytes, sha256: str) -> bool:
        """Whether an existing file has the bytes of that digest, or an existing link leads to that source: it is read."""

    def is_made(self, mode: Mode, content: Content, destination: str) -> bool:
        """Return whether a destination has what a step would put there. Both are read; a transformed content is made."""
