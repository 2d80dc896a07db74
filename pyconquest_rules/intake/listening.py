"""A listener of the rules at work: what comes in."""

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
"""So many seconds instances that are on their way may take when a listener is to end."""


class Receives(Protocol):
    """How instances are to be received: into which source, and what becomes of another data set of an instance."""

    @property
    def into(self) -> str:
        """The source."""

    @property
    def on_conflict(self) -> str:
        """`newest`: another data set of an instance takes the place of the first."""

    @property
    def min_free(self) -> int:
        """How many bytes of the disk stay free."""

    def settings(self, folder: Path | None) -> Settings:
        """Return the same for the network; `folder` is that of the rules file."""


class Listening:
    """Receives while it is open. Use as a context manager. Raises ListenError or DatabaseError if that cannot be.

    What it needs is looked at first: a source and an index that can be written, room on the disk, the certificate, the port.
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
        """`came` gets the StudyInstanceUID of what came and is indexed, before the sender has its answer.

        `tell` gets what is refused or odd. Both are called from other threads. `nodes` get reports of storage commitment on
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
        """Raises ListenError if nothing could be received, because too little of the disk is free."""
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
        """The port that it listens on."""
        return self._listener.port

    def health(self) -> Health:
        """What it did so far."""
        return self._listener.health()

    def _received(self, received: Received) -> None:
        self._came(received.StudyInstanceUID)
