"""The receiving half: an SCP for verification (PS3.4 A) and storage (PS3.4 B) that keeps the bytes as they come."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from pyconquest_rules.events import FromListener, InstanceNoted, InstanceRefused, PeerRefused
from pyconquest_rules.network import wire as dimse
from pyconquest_rules.network.accepting import LONGEST_REQUEST, Accepted, Offer, Rejected, accept, requested
from pyconquest_rules.network.commitment_scp import Commitments
from pyconquest_rules.network.node import Node
from pyconquest_rules.network.receiving import Message, Messages
from pyconquest_rules.network.reporting import Archive
from pyconquest_rules.network.server import Server, ServerTLS
from pyconquest_rules.network.statuses import STORE, Status, words
from pyconquest_rules.network.storable import is_known, is_private, is_storable
from pyconquest_rules.network.storing import (
    STORAGE_COMMITMENT,
    VERIFICATION,
    About,
    Keep,
    Stored,
    instance_uid,
    kept,
    refusal,
    response,
)
from pyconquest_rules.network.wire import Lost, Wire, WireError

# Connections beyond the associations: those in their handshake, and those that are told that there are too many.
WAITING = 100
# How long a request waits, in seconds, where an idle association of another address is to make room.
WAIT_FOR_PLACE = 3.0


@dataclass(frozen=True, slots=True)
class Listening:
    """How to listen. `ae_title` "" is any, as is `port` 0;
    `allow` (AE titles) and `addresses` (or networks) are those that may call, empty: all.

    `association_timeout`: seconds in which a handshake must be over, an association be asked for, and a next message begin;
    `pdu_timeout`: in which a PDU must be there whole, and within a message the next. `min_free`: bytes that stay free.
    `private`: SOP classes and transfer syntaxes that are none of the Standard's are taken too.
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
    private: bool = True


@dataclass(frozen=True, slots=True)
class Health:
    """What a listener did so far: instances received (answered 0x0000), duplicates among them, refused; bytes of data sets.

    `associations` are open now, `rejected` were not accepted, `aborted` were broken off by the listener.
    """

    associations: int = 0
    rejected: int = 0
    aborted: int = 0
    received: int = 0
    duplicates: int = 0
    refused: int = 0
    bytes: int = 0


class Listener:
    """Listens for verification and storage, and gives what comes to `keep`."""

    def __init__(
        self,
        settings: Listening,
        keep: Keep,
        tell: Callable[[FromListener], None] = lambda event: None,
        archive: Archive | None = None,
        nodes: Iterable[Node] = (),
    ) -> None:
        """`tell` gets what is refused, and what is odd about what is kept; from the threads of all associations at once.

        With an `archive` storage commitment is provided too: one of `nodes` gets the report on an association of its own, others
        on that of their request.
        """
        self.settings, self.keep, self._tell = settings, keep, tell
        self._commitments = Commitments(settings.ae_title, nodes, archive, self._commitment_failed) if archive else None
        self._offer = _offer(settings, commits=archive is not None)
        self._health, self._lock = Health(), threading.Lock()
        self._server = Server(
            settings.host,
            settings.port,
            self._serve,
            addresses=settings.addresses,
            tls=settings.tls,
            most=settings.max_associations + WAITING,
            handshake=settings.association_timeout,
            refused=lambda address, reason: self._refuse("connection", reason, "", address),
        )

    @property
    def port(self) -> int:
        """Return the port; the real one once it listens."""
        return self._server.port

    def health(self) -> Health:
        """Return the counts of this moment."""
        return self._health

    def start(self) -> None:
        """Listen from now on; returns at once. Raises ListenError."""
        self._server.start()
        if self._commitments is not None:
            self._commitments.start()

    def stop(self, grace: float = 10.0) -> None:
        """No new associations; those that receive an instance may finish it within `grace` seconds; then all are aborted."""
        self._server.stop(grace)
        if self._commitments is not None:
            self._commitments.stop(grace)

    def _count(self, **more: int) -> None:
        with self._lock:
            self._health = replace(self._health, **{name: getattr(self._health, name) + n for name, n in more.items()})

    def _report(self, event: FromListener) -> None:
        """Report what is refused or odd. A log that cannot be written must not stop the listener."""
        with suppress(OSError):
            self._tell(event)

    def _refuse(self, what: str, reason: str, calling_ae_title: str, address: str) -> None:
        self._report(PeerRefused(now(), what, reason, calling_ae_title, address))

    def _commitment_failed(self, calling_ae_title: str, address: str, reason: str) -> None:
        self._refuse("commitment", reason, calling_ae_title, address)

    def _takes_place(self) -> bool:
        """Take a place for one more association; False if there is none, and no idle one of another address to be had."""
        end = time.monotonic() + WAIT_FOR_PLACE
        while True:
            with self._lock:
                if self._health.associations < self.settings.max_associations:
                    self._health = replace(self._health, associations=self._health.associations + 1)
                    return True
            if not self._server.make_room(self.settings.max_associations) or time.monotonic() > end:
                return False
            time.sleep(0.01)

    def _serve(self, connection: socket.socket) -> None:
        wire = Wire(connection, longest=LONGEST_REQUEST, seconds=self.settings.association_timeout)
        calling, address = "", self._server.address()
        try:
            request = requested(wire, self.settings.association_timeout)
            calling, place = request.calling_ae_title, self._takes_place()
            try:
                accepted = accept(wire, self._offer, request, full=not place)
                if isinstance(accepted, Rejected):
                    self._count(rejected=1)
                    self._refuse("association", accepted.reason, calling, address)
                else:
                    self._server.associated()
                    for context in accepted.refused:
                        self._refuse("context", f"not taken: {context.abstract_syntax}", calling, address)
                    wire.longest, wire.seconds = self.settings.max_pdu, self.settings.pdu_timeout
                    self._answer(wire, accepted)
            finally:
                self._count(associations=-place)
        except WireError as error:
            # Who broke an association off, or went away, was not refused anything.
            if not isinstance(error, Lost) or isinstance(error.__cause__, TimeoutError):
                self._count(aborted=1)
                self._refuse("abort", str(error), calling, address)
            wire.abort()

    def _answer(self, wire: Wire, accepted: Accepted) -> None:
        """Answer messages until the peer asks for release. Raises WireError, as when it is time to stop."""
        messages = Messages(wire, accepted.contexts, silence=self.settings.association_timeout, longest=self.settings.max_message)
        while not self._server.stopping:
            message = messages.command()
            if message is None:
                wire.write(dimse.HEAD.pack(dimse.RELEASE_RP, 4) + bytes(4))
                return
            if message.kind == dimse.C_CANCEL_RQ:  # of nothing: there is never an operation under way
                continue
            with self._server.busy():
                commitments = self._commitments if accepted.contexts[message.context_id][0] == STORAGE_COMMITMENT else None
                if commitments is not None and message.kind == dimse.N_ACTION_RQ:
                    commitments.request(wire, messages, message, accepted, self._server.address())
                elif commitments is not None and message.kind == dimse.N_EVENT_REPORT_RQ | dimse.RESPONSE:
                    commitments.answered(message, accepted, self._server.address())
                else:
                    status = self._status(messages, message, accepted)
                    wire.write(dimse.message(message.context_id, response(message, status), accepted.maximum_length))
        raise Lost("it is time to stop")

    def _status(self, messages: Messages, message: Message, accepted: Accepted) -> int:
        """Do what a message asks for; whatever comes of it, all of its data set is read. Raises WireError."""
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
        """Receive an instance and returns what to answer. Raises WireError."""
        sop_class, transfer_syntax = accepted.contexts[message.context_id]
        calling, uid = accepted.calling_ae_title, instance_uid(message)
        stored = Stored(refusal(message, sop_class))
        if stored.status == Status.SUCCESS:
            stored = kept(self.keep, About(sop_class, uid, transfer_syntax, calling), data_set, min_free=self.settings.min_free)
        good = stored.status == Status.SUCCESS
        self._count(received=good, refused=not good, duplicates=stored.duplicate, bytes=stored.size if good else 0)
        if not good:
            why = stored.reason or words(stored.status, STORE)
            self._report(InstanceRefused(now(), uid, stored.status, why, calling, self._server.address()))
        elif stored.note:
            self._report(InstanceNoted(now(), uid, stored.note, calling, self._server.address()))
        return stored.status


def _offer(settings: Listening, *, commits: bool) -> Offer:
    """What a listener takes."""
    private, others = settings.private, {VERIFICATION} | ({STORAGE_COMMITMENT} if commits else set())
    return Offer(
        settings.ae_title,
        settings.allow,
        settings.max_pdu,
        lambda sop_class: sop_class in others or is_storable(sop_class, private=private),
        is_known,
        lambda sop_class, syntax: private and is_private(sop_class, syntax),
    )


def now() -> str:
    """Return the time of this moment, as ISO 8601 has it."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
