"""The receiving half: an SCP for verification (PS3.4 A) and storage (PS3.4 B) that keeps the bytes as they come."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts

from pyconquest_rules.network import wire as dimse
from pyconquest_rules.network.accepting import LONGEST_REQUEST, Accepted, Offer, Rejected, accept, requested
from pyconquest_rules.network.receiving import Message, Messages
from pyconquest_rules.network.server import Server, ServerTLS
from pyconquest_rules.network.statuses import Status
from pyconquest_rules.network.storing import VERIFICATION, About, Keep, Stored, kept, refusal, response
from pyconquest_rules.network.wire import Lost, Wire, WireError

TAKEN = frozenset([VERIFICATION, *(str(context.abstract_syntax) for context in AllStoragePresentationContexts)])
TRANSFER_SYNTAXES = frozenset(map(str, ALL_TRANSFER_SYNTAXES))
"""The SOP classes and transfer syntaxes that are taken."""

# Connections beyond the associations: those in their handshake, and those that are told that there are too many.
WAITING = 100


@dataclass(frozen=True, slots=True)
class Listening:
    """How to listen. `ae_title` "" is any, as is `port` 0;
    `allow` (AE titles) and `addresses` (or networks) are those that may call, empty: all.

    `association_timeout`: seconds in which a handshake must be over, an association be asked for, and a next message begin;
    `pdu_timeout`: in which a PDU must be there whole, and within a message the next. `min_free`: bytes that stay free.
    """

    ae_title: str
    host: str = "127.0.0.1"
    port: int = 0
    allow: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    tls: ServerTLS | None = None
    max_associations: int = 25
    max_pdu: int = 131072
    max_message: int = 4 << 30
    association_timeout: float = 60.0
    pdu_timeout: float = 30.0
    min_free: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """What a listener did so far: instances received (answered 0x0000), duplicates among them, refused; bytes of data sets.

    `associations` are open now, `rejected` were not accepted.
    """

    associations: int = 0
    rejected: int = 0
    received: int = 0
    duplicates: int = 0
    refused: int = 0
    bytes: int = 0


class Listener:
    """Listens for verification and storage, and gives what comes to `keep`."""

    def __init__(self, settings: Listening, keep: Keep) -> None:
        self.settings, self.keep = settings, keep
        self._offer = Offer(
            settings.ae_title, settings.allow, settings.max_pdu, TAKEN.__contains__, lambda _, syntax: syntax in TRANSFER_SYNTAXES
        )
        self._health, self._lock = Health(), threading.Lock()
        self._server = Server(
            settings.host,
            settings.port,
            self._serve,
            addresses=settings.addresses,
            tls=settings.tls,
            most=settings.max_associations + WAITING,
            handshake=settings.association_timeout,
        )

    @property
    def port(self) -> int:
        """The port; the real one once it listens."""
        return self._server.port

    def health(self) -> Health:
        """The counts of this moment."""
        return self._health

    def start(self) -> None:
        """Listens from now on; returns at once. Raises ListenError."""
        self._server.start()

    def stop(self, grace: float = 10.0) -> None:
        """No new associations; those that receive an instance may finish it within `grace` seconds; then all are aborted."""
        self._server.stop(grace)

    def _count(self, **more: int) -> None:
        with self._lock:
            self._health = replace(self._health, **{name: getattr(self._health, name) + n for name, n in more.items()})

    def _takes_place(self) -> bool:
        """Whether there was a place for one more association, which is taken then."""
        with self._lock:
            there_is = self._health.associations < self.settings.max_associations
            self._health = replace(self._health, associations=self._health.associations + there_is)
        return there_is

    def _serve(self, connection: socket.socket) -> None:
        wire = Wire(connection, longest=LONGEST_REQUEST, seconds=self.settings.association_timeout)
        try:
            request = requested(wire, self.settings.association_timeout)
            place = self._takes_place()
            try:
                accepted = accept(wire, self._offer, request, full=not place)
                if isinstance(accepted, Rejected):
                    self._count(rejected=1)
                else:
                    wire.longest, wire.seconds = self.settings.max_pdu, self.settings.pdu_timeout
                    self._answer(wire, accepted)
            finally:
                self._count(associations=-place)
        except WireError:
            wire.abort()

    def _answer(self, wire: Wire, accepted: Accepted) -> None:
        """Answers messages until the peer asks for release. Raises WireError, as when it is time to stop."""
        messages = Messages(wire, accepted.contexts, silence=self.settings.association_timeout, longest=self.settings.max_message)
        while not self._server.stopping:
            message = messages.command()
            if message is None:
                wire.write(dimse.HEAD.pack(dimse.RELEASE_RP, 4) + bytes(4))
                return
            if message.kind == dimse.C_CANCEL_RQ:  # of nothing: there is never an operation under way
                continue
            with self._server.busy():
                status = self._status(messages, message, accepted)
                wire.write(dimse.message(message.context_id, response(message, status), accepted.maximum_length))
        raise Lost("it is time to stop")

    def _status(self, messages: Messages, message: Message, accepted: Accepted) -> int:
        """Does what a message asks for; whatever comes of it, all of its data set is read. Raises WireError."""
        data_set = messages.data_set(message.context_id) if message.has_data_set else iter(())
        match message.kind:
            case dimse.C_STORE_RQ:
                status = self._store(message, data_set, accepted)
            case dimse.C_ECHO_RQ:
                status = Status.SUCCESS
            case _:
                status = Status.UNRECOGNIZED_OPERATION
        for _ in data_set:
            pass
        return status

    def _store(self, message: Message, data_set: Iterator[bytearray | memoryview], accepted: Accepted) -> int:
        """Receives an instance and returns what to answer. Raises WireError."""
        sop_class, transfer_syntax = accepted.contexts[message.context_id]
        stored = Stored(refusal(message, sop_class))
        if stored.status == Status.SUCCESS:
            sop_instance = message.command[dimse.AFFECTED_SOP_INSTANCE].decode()
            about = About(sop_class, sop_instance, transfer_syntax, accepted.calling_ae_title)
            stored = kept(self.keep, about, data_set, min_free=self.settings.min_free)
        good = stored.status == Status.SUCCESS
        self._count(received=good, refused=not good, duplicates=stored.duplicate, bytes=stored.size if good else 0)
        return stored.status
