"""The questions that planning asks about the ledger and the disk."""

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
        """Make the ledger readable on a connection, as the database `ledger`.

        Its table `done` has every destination that was done and not undone since, `failed` those of steps that failed in their
        last run, `adopted` those where what was done stood already, `repair` those whose changed content may be replaced,
        `young` those whose times do not tell yet; a destination is the key of each.
        """

    def listing(self, folder: str) -> Iterator[Entry]:
        """Yield the entries of a folder, named as destinations are; nothing if there is none. Links are not followed."""

    def nothing_in(self, root: Root) -> Gone | None:
        """Return whether an output is missing or empty; None if it is neither."""

    def entry(self, destination: str) -> Entry | None:
        """Return what is at a destination, or None. Raises UnsafePath if it cannot be reached safely, as behind a link."""

    def is_left(self, destination: str, source: bytes, sha256: str) -> bool:
        """Return whether the file at a destination has this SHA-256, which means reading it, or is a link to this source."""

    def is_made(self, mode: Mode, content: Content, destination: str) -> bool:
        """Return whether a destination has what a step would put there. Both are read; a transformed content is made."""
