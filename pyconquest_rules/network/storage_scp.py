"""The receiving half: an SCP for verification (PS3.4 A) and storage (PS3.4 B) that keeps the bytes as they come."""

import errno
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Protocol

from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from pyconquest_rules.network import wire as dimse
from pyconquest_rules.network.accepting import LONGEST_REQUEST, Accepted, accept, requested, storage_ae
from pyconquest_rules.network.part10 import file_meta_information
from pyconquest_rules.network.receiving import Message, Messages
from pyconquest_rules.network.server import Server, ServerTLS
from pyconquest_rules.network.wire import Lost, Wire, WireError

UID = re.compile(rb"[0-9]+(\.[0-9]+)*")

# The bit of a Command Field that makes it a response (PS3.7 E.1-1).
RESPONSE = 0x8000

# Connections beyond the associations: those in their handshake, and those that are told that there are too many.
WAITING = 100


class Status(IntEnum):
    """Of a C-STORE response (PS3.4 B.2.3, PS3.7 C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    INVALID_SOP_INSTANCE = 0x0117
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORIZED = 0x0124
    UNRECOGNIZED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class Part(Protocol):
    """An instance that is being received: what `Keep.part` opened."""

    duplicate: bool
    """Whether `finish` found that the same bytes were there already."""

    def write(self, data: bytes | bytearray | memoryview) -> object:
        """Takes the next bytes of the file. Raises OSError."""

    def finish(self) -> int:
        """Makes the instance durable and findable, and says what is answered: 0x0000 only after that. Raises OSError."""


class Keep(Protocol):
    """Whoever keeps what is received. Called from the threads of all associations at once.

    What it raises is answered with 0xA700 where there was no room, else with 0x0110, and the association goes on; to tell people
    of it is its own task.
    """

    def part(
        self, sop_class: str, sop_instance: str, transfer_syntax: str, calling_ae_title: str
    ) -> AbstractContextManager[Part]:
        """Opens a place for an instance. Left without `finish`, or when that refused, nothing of it stays. Raises OSError."""

    def free(self) -> int:
        """How many bytes of room there are."""


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
        self._ae = storage_ae(settings.ae_title, settings.allow, settings.max_pdu)
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
                accepted = accept(wire, self._ae, request, full=not place)
                if accepted is None:
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
                wire.write(dimse.message(message.context_id, _response(message, status), accepted.maximum_length))
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
        """Receives an instance and says what to answer. Raises WireError."""
        status, size, duplicate = self._refusal(message, accepted), 0, False
        if status == Status.SUCCESS:
            sop_class, transfer_syntax = accepted.contexts[message.context_id]
            about = sop_class, message.command[dimse.AFFECTED_SOP_INSTANCE].decode(), transfer_syntax, accepted.calling_ae_title
            try:
                with self.keep.part(*about) as part:
                    part.write(file_meta_information(*about))
                    for block in data_set:
                        if self.keep.free() - len(block) < self.settings.min_free:
                            raise OSError(errno.ENOSPC, "less would stay free than must")
                        part.write(block)
                        size += len(block)
                    status, duplicate = part.finish(), part.duplicate
            except WireError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever the keeper comes to must not end the association
                no_room = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
                status = Status.OUT_OF_RESOURCES if no_room else Status.PROCESSING_FAILURE
        good = status == Status.SUCCESS
        self._count(received=good, refused=not good, duplicates=good and duplicate, bytes=size if good else 0)
        return status

    def _refusal(self, message: Message, accepted: Accepted) -> int:
        """What is wrong with a request to store before its data set is seen; SUCCESS where nothing is."""
        sop_class = accepted.contexts[message.context_id][0]
        sop_instance = message.command.get(dimse.AFFECTED_SOP_INSTANCE, b"")
        if message.command.get(dimse.AFFECTED_SOP_CLASS) != sop_class.encode() or sop_class == Verification:
            return Status.SOP_CLASS_NOT_SUPPORTED
        if not UID.fullmatch(sop_instance) or len(sop_instance) > 64:
            return Status.INVALID_SOP_INSTANCE
        return Status.SUCCESS if message.has_data_set else Status.CANNOT_UNDERSTAND


def _response(message: Message, status: int) -> bytes:
    """The command that answers another (PS3.7 9.3). Raises WireError where that is no request."""
    if message.kind & RESPONSE:
        raise WireError("the peer answered what was not asked")
    told = (dimse.AFFECTED_SOP_CLASS, dimse.AFFECTED_SOP_INSTANCE)
    elements: dict[int, bytes | int] = {element: message.command[element] for element in told if element in message.command}
    elements |= {
        dimse.COMMAND_FIELD: message.kind | RESPONSE,
        dimse.MESSAGE_ID_RESPONDED: dimse.number(message.command, dimse.MESSAGE_ID),
        dimse.DATA_SET_TYPE: dimse.NO_DATA_SET,
        dimse.STATUS: status,
    }
    return dimse.command_set(elements)
