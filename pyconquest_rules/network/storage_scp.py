"""The SCP of verification (PS3.4 A) and storage (PS3.4 B). It stores data sets as received."""

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
    Storage,
    Stored,
    instance_uid,
    kept,
    refusal,
    response,
)
from pyconquest_rules.network.wire import Lost, Wire, WireError

WAITING = 100
"""Connections beyond `max_associations`: those in their handshake, and those that get a rejection."""
WAIT_FOR_PLACE = 3.0
"""Seconds that a request waits for an idle association of another address to end."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The settings of a listener.

    `ae_title` is the called AE title, or "" for any; `port` 0 is any free port. `allow` are calling AE titles, `addresses` are IP
    addresses or networks; empty means any. `association_timeout` is the number of seconds for the TLS handshake, until the
    association request, and until the next message begins. `pdu_timeout` is the number of seconds for a complete PDU, and until
    the next PDU of a message. `min_free` bytes of the disk stay free. With `private`, private SOP classes and transfer syntaxes
    are accepted too.
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
    """The counts of a listener since its start.

    `received` instances were acknowledged (0x0000), with `bytes` of data sets; `duplicates` among them already existed. `refused`
    instances were not stored. `associations` are open now; `rejected` were not accepted; `aborted` were aborted by the listener.
    """

    associations: int = 0
    rejected: int = 0
    aborted: int = 0
    received: int = 0
    duplicates: int = 0
    refused: int = 0
    bytes: int = 0


class Listener:
    """Serves verification and storage, and passes instances to `storage`."""

    def __init__(
        self,
        settings: Listening,
        storage: Storage,
        tell: Callable[[FromListener], None] = lambda event: None,
        archive: Archive | None = None,
        nodes: Iterable[Node] = (),
    ) -> None:
        """`tell` is called with each refusal, and with notes on stored instances, from the threads of all associations.

        With an `archive`, storage commitment is served too. One of the `nodes` gets its report on a new association, any other
        peer on the association of its request.
        """
        self.settings, self.storage, self._tell = settings, storage, tell
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
        """Return the port. After `start`, it is the real one."""
        return self._server.port

    def health(self) -> Health:
        """Return the current counts."""
        return self._health

    def start(self) -> None:
        """Start to listen, and return at once. Raises ListenError."""
        self._server.start()
        if self._commitments is not None:
            self._commitments.start()

    def stop(self, grace: float = 10.0) -> None:
        """Accept no new associations, wait up to `grace` seconds for instances that are being received, then abort the rest."""
        self._server.stop(grace)
        if self._commitments is not None:
            self._commitments.stop(grace)

    def _count(self, **more: int) -> None:
        with self._lock:
            self._health = replace(self._health, **{name: getattr(self._health, name) + n for name, n in more.items()})

    def _report(self, event: FromListener) -> None:
        """Report an event. A log that cannot be written must not stop the listener."""
        with suppress(OSError):
            self._tell(event)

    def _refuse(self, what: str, reason: str, calling_ae_title: str, address: str) -> None:
        self._report(PeerRefused(now(), what, reason, calling_ae_title, address))

    def _commitment_failed(self, calling_ae_title: str, address: str, reason: str) -> None:
        self._refuse("commitment", reason, calling_ae_title, address)

    def _takes_place(self) -> bool:
        """Take a place for one more association, if need be that of an idle one. Return False if there is none."""
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
                        self._refuse("context", f"not accepted: {context.abstract_syntax}", calling, address)
                    wire.longest, wire.seconds = self.settings.max_pdu, self.settings.pdu_timeout
                    self._answer(wire, accepted)
            finally:
                self._count(associations=-place)
        except WireError as error:
            # A peer that aborted or closed the connection was not refused.
            if not isinstance(error, Lost) or isinstance(error.__cause__, TimeoutError):
                self._count(aborted=1)
                self._refuse("abort", str(error), calling, address)
            wire.abort()

    def _answer(self, wire: Wire, accepted: Accepted) -> None:
        """Answer messages until the peer requests release. Raises WireError, also when the listener stops."""
        messages = Messages(wire, accepted.contexts, silence=self.settings.association_timeout, longest=self.settings.max_message)
        while not self._server.stopping:
            message = messages.command()
            if message is None:
                wire.write(dimse.HEAD.pack(dimse.RELEASE_RP, 4) + bytes(4))
                return
            if message.kind == dimse.C_CANCEL_RQ:  # no operation is ever pending
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
        raise Lost("the listener stops")

    def _status(self, messages: Messages, message: Message, accepted: Accepted) -> int:
        """Handle a message and return the status. All of its data set is read, also after a failure. Raises WireError."""
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
        """Store an instance and return the status. Raises WireError."""
        sop_class, transfer_syntax = accepted.contexts[message.context_id]
        calling, uid = accepted.calling_ae_title, instance_uid(message)
        stored = Stored(refusal(message, sop_class))
        if stored.status == Status.SUCCESS:
            stored = kept(
                self.storage, About(sop_class, uid, transfer_syntax, calling), data_set, min_free=self.settings.min_free
            )
        good = stored.status == Status.SUCCESS
        self._count(received=good, refused=not good, duplicates=stored.duplicate, bytes=stored.size if good else 0)
        if not good:
            why = stored.reason or words(stored.status, STORE)
            self._report(InstanceRefused(now(), uid, stored.status, why, calling, self._server.address()))
        elif stored.note:
            self._report(InstanceNoted(now(), uid, stored.note, calling, self._server.address()))
        return stored.status


def _offer(settings: Listening, *, commits: bool) -> Offer:
    """Return what a listener accepts."""
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
    """Return the current time in ISO 8601."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
