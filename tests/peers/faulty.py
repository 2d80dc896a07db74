"""A storage SCP on a raw socket that makes the errors that a test asks for."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from pyconquest_rules.network import wire
from tests.peers.processes import HOST

Fault = (
    int
    | Literal[
        "wrong message ID", "wrong instance", "garbage", "silence", "half a PDU", "abort", "abort within", "close", "release"
    ]
)
"""What a Faulty does wrong: a status that it answers, or worse."""

NUMBERS = count()


@dataclass
class Faulty:
    """A storage SCP on a raw socket that accepts every presentation context and does `faults` at its messages, counted from 0.

    `stored` are the data sets by SOP Instance UID of what it answered with success or a warning. `refused` are abstract
    syntaxes that it does not accept. `during` is called at the first fragment of each data set. `bound` are faults that it does
    whenever it gets an instance, `once` those that it does the first time. If there are `syntaxes`, it accepts no others;
    `stored_as` are those of what it stored.
    """

    faults: Mapping[int, Fault] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    maximum_length: int = 16384
    tls: ssl.SSLContext | None = None
    during: Callable[[], None] = lambda: None
    bound: Mapping[str, Fault] = field(default_factory=dict)
    once: dict[str, Fault] = field(default_factory=dict)
    syntaxes: frozenset[str] = frozenset()
    stored: dict[str, bytes] = field(default_factory=dict)
    stored_as: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    proposed: list[list[str]] = field(default_factory=list)
    messages: int = 0
    title: str = field(default_factory=lambda: f"PEER{next(NUMBERS)}")
    """An AE title that no other peer of this process has, unlike its port, which may come again."""

    def __post_init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self._connections: list[socket.socket] = []
        self._lock, self._ended = threading.Lock(), False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> "Faulty":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for ended in [self._listener, *self._connections]:
            with suppress(OSError):
                ended.shutdown(socket.SHUT_RDWR)
            ended.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self._ended:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, EOFError), connection:
            if self.tls is None:
                self._associate(connection)
                return
            with self.tls.wrap_socket(connection, server_side=True) as secured:
                self._associate(secured)

    def _associate(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, request = _pdu(connection)
        contexts = {
            data[0]: [value.decode() for _, value in _items(data[4:])] for kind, data in _items(request[68:]) if kind == 0x20
        }
        self.proposed.append([abstract for abstract, *_ in contexts.values()])
        connection.sendall(self._acceptance(request, contexts))
        command, data = bytearray(), bytearray()
        while True:
            kind, pdu = _pdu(connection)
            if kind == wire.RELEASE_RQ:
                connection.sendall(wire.HEAD.pack(wire.RELEASE_RP, 4) + bytes(4))
            if kind != wire.P_DATA:
                return
            while pdu:
                length, context_id, control = wire.ITEM.unpack_from(pdu)
                part, pdu = pdu[wire.ITEM.size : 4 + length], pdu[4 + length :]
                if not data and not control & wire.COMMAND:
                    self.during()
                (command if control & wire.COMMAND else data).extend(part)
                if control & wire.LAST and (control & wire.COMMAND == 0 or _has_no_data_set(bytes(command))):
                    self._answer(connection, context_id, wire.parsed(bytes(command)), bytes(data), contexts[context_id][1])
                    command.clear()
                    data.clear()
                elif not control & wire.COMMAND and self.faults.get(self.messages) == "abort within":
                    self._abort(connection)

    def _acceptance(self, request: bytes, contexts: Mapping[int, list[str]]) -> bytes:
        body = request[:68] + _item(0x10, b"1.2.840.10008.3.1.1.1")
        for context_id, (abstract, syntax, *_) in contexts.items():
            result = 3 if abstract in self.refused else 4 if self.syntaxes and syntax not in self.syntaxes else 0
            body += _item(0x21, bytes([context_id, 0, result, 0]) + _item(0x40, syntax.encode()))
        body += _item(0x50, _item(0x51, struct.pack(">I", self.maximum_length)) + _item(0x52, b"1.2.3.4"))
        return wire.HEAD.pack(2, len(body)) + body

    def _abort(self, connection: socket.socket) -> None:
        with self._lock:
            self.messages += 1
        connection.sendall(wire.HEAD.pack(wire.ABORT, 4) + bytes(4))
        raise EOFError

    def _answer(self, connection: socket.socket, context_id: int, command: Mapping[int, bytes], data: bytes, syntax: str) -> None:
        with self._lock:
            number, self.messages = self.messages, self.messages + 1
        instance = command.get(wire.AFFECTED_SOP_INSTANCE, b"")
        uid = instance.decode()
        if uid:  # C-ECHO has none
            self.order.append(uid)
        fault = self.bound.get(uid) or self.once.pop(uid, None) or self.faults.get(number, 0)
        answer: dict[int, bytes | int] = {
            wire.AFFECTED_SOP_CLASS: command[wire.AFFECTED_SOP_CLASS],
            wire.COMMAND_FIELD: wire.number(command, wire.COMMAND_FIELD) | 0x8000,
            wire.MESSAGE_ID_RESPONDED: wire.number(command, wire.MESSAGE_ID),
            wire.DATA_SET_TYPE: wire.NO_DATA_SET,
            wire.STATUS: fault if isinstance(fault, int) else 0,
            wire.AFFECTED_SOP_INSTANCE: instance,
        }
        match fault:
            case "wrong message ID":
                answer[wire.MESSAGE_ID_RESPONDED] = wire.number(command, wire.MESSAGE_ID) + 1
            case "wrong instance":
                answer[wire.AFFECTED_SOP_INSTANCE] = b"1.2.3"
            case "garbage":
                connection.sendall(bytes(range(256)) * 4)
                return
            case "silence":
                return
            case "half a PDU":
                whole = wire.message(context_id, wire.command_set(answer), 0)
                connection.sendall(whole[: len(whole) // 2])
                return
            case "abort" | "abort within":
                connection.sendall(wire.HEAD.pack(wire.ABORT, 4) + bytes(4))
                raise EOFError
            case "close":
                raise EOFError
            case "release":
                connection.sendall(wire.HEAD.pack(wire.RELEASE_RQ, 4) + bytes(4))
                return
            case status if uid and (status == 0 or status >> 12 == 0xB):
                self.stored[uid], self.stored_as[uid] = data, syntax
        connection.sendall(wire.message(context_id, wire.command_set(answer), 0))


def _pdu(connection: socket.socket) -> tuple[int, bytes]:
    kind, length = wire.HEAD.unpack(_exactly(connection, wire.HEAD.size))
    return kind, _exactly(connection, length)


def _has_no_data_set(command: bytes) -> bool:
    return wire.number(wire.parsed(command), wire.DATA_SET_TYPE) == wire.NO_DATA_SET


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        received = connection.recv(length - len(data))
        if not received:
            raise EOFError
        data += received
    return bytes(data)


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(data)) + data


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, length = struct.unpack_from(">BxH", data)
        yield kind, data[4 : 4 + length]
        data = data[4 + length :]
