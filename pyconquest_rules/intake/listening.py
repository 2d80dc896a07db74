"""Run a listener of the rules."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from pyconquest_rules.events import FromListener
from pyconquest_rules.index.store.order import NO_ORDER, Order
from pyconquest_rules.index.store.schema import Schema
from pyconquest_rules.intake.inbox import Inbox, Received
from pyconquest_rules.network.node import Node
from pyconquest_rules.network.server import ListenError
from pyconquest_rules.network.storage_scp import Health, Listener
from pyconquest_rules.network.storage_scp import Listening as Settings
from pyconquest_rules.templates import Template

GRACE = 30.0
"""Seconds for instances that are being received when a listener stops."""


class Receives(Protocol):
    """The settings of a listener that are needed to receive instances."""

    @property
    def into(self) -> str:
        """Return the name of the source."""

    @property
    def on_conflict(self) -> str:
        """Return "refuse" or "newest": whether another data set of an instance replaces the first."""

    @property
    def min_free(self) -> int:
        """Return the number of bytes of the disk that stay free."""

    def settings(self, folder: Path | None) -> Settings:
        """Return the settings of the network. `folder` is the folder of the rules file."""


class Listening:
    """Receives instances while it is open. A context manager. Raises ListenError or DatabaseError at its start.

    It first checks that source and index can be written, the room on the disk, the certificate and the port.
    """

    def __init__(
        self,
        listen: Receives,
        root: Path,
        layout: Template,
        database: Path,
        schema: Schema,
        came: Callable[[str], None] = lambda study: None,
        tell: Callable[[FromListener], None] = lambda event: None,
        nodes: Iterable[Node] = (),
        order: Order = NO_ORDER,
    ) -> None:
        """`came` is called with the StudyInstanceUID of each indexed instance, before its sender gets the answer.

        `tell` is called with refusals and notes. Both are called from other threads. `nodes` get reports of storage commitment on
        associations of their own.
        """
        self.listen, self._came = listen, came
        newest = listen.on_conflict == "newest"
        self._inbox = Inbox(listen.into, root, layout, database, schema, self._received, newest=newest, order=order)
        self._listener = Listener(
            listen.settings(order.base),
            self._inbox,
            tell,
            self._inbox,
            nodes,
        )

    def __enter__(self) -> "Listening":
        try:
            self._inbox.__enter__()
        except OSError as error:
            where = f'to the source "{self.listen.into}": {self._inbox.root}: {error.strerror or error}'
            raise ListenError(f"cannot write {where}; check the folder and its permissions") from None
        try:
            self._check_room()
            self._listener.start()
        except BaseException:
            self._inbox.__exit__()
            raise
        return self

    def _check_room(self) -> None:
        """Raise ListenError if there is not enough room on the disk to receive anything."""
        free, least = self._inbox.free(), self.listen.min_free
        if free <= least:
            raise ListenError(
                f'{free:,} bytes are free on the disk of the source "{self.listen.into}" ({self._inbox.root}),'
                f" and min_free keeps {least:,}; make room, or lower min_free"
            )

    def __exit__(self, *_: object) -> None:
        self._listener.stop(GRACE)
        self._inbox.__exit__()

    @property
    def port(self) -> int:
        """Return the port."""
        return self._listener.port

    def health(self) -> Health:
        """Return the counts since its start."""
        return self._listener.health()

    def _received(self, received: Received) -> None:
        self._came(received.StudyInstanceUID)
