"""Peers of the tests: DCMTK's and Orthanc as processes, and one of our own that makes mistakes."""

import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

from pyconquest_rules.network import wire
from tests.conftest import needs
from tests.dcmtk import dcmtk

HOST = "127.0.0.1"
ATTEMPTS = 5


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def process(command: Callable[[int], Sequence[str | Path]], folder: Path) -> Iterator[int]:
    """Runs a server, whose command line is made from its port, and gives the port when it accepts connections."""
    for _ in range(ATTEMPTS):
        port = free_port()
        arguments = [str(argument) for argument in command(port)]
        needs(arguments[0], shutil.which(arguments[0]) is not None)
        with (folder / "log").open("ab") as log:
            running = subprocess.Popen(
                arguments, cwd=folder, stdout=log, stderr=log, env={**os.environ, "TCP_NODELAY": "1"}, start_new_session=True
            )
        try:
            if _accepts(port, running):
                yield port
                return
        finally:
            running.terminate()
            running.wait(30)
    raise RuntimeError(f"{arguments[0]} does not start: {(folder / 'log').read_text(errors='replace')}")


def _accepts(port: int, running: "subprocess.Popen[bytes]") -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end and running.poll() is None:
        with suppress(OSError), socket.create_connection((HOST, port), 1):
            return running.poll() is None
        time.sleep(0.01)
    return False


@contextmanager
def storescp(folder: Path, *options: str | Path) -> Iterator[int]:
    """DCMTK's storescp, which writes into `folder/received`."""
    (folder / "received").mkdir(exist_ok=True)
    with process(lambda port: [dcmtk("storescp"), "-od", folder / "received", *options, str(port)], folder) as port:
        yield port


@contextmanager
def dcmqrscp(folder: Path, ae_title: str = "ARCHIVE", hosts: Mapping[str, tuple[str, int]] | None = None) -> Iterator[int]:
    """DCMTK's dcmqrscp. `hosts`: AE titles with address and port, to which it may move."""
    store, known = folder / "store", hosts or {}
    store.mkdir(exist_ok=True)
    table = "\n".join(f"h{number} = ({title}, {host}, {port})" for number, (title, (host, port)) in enumerate(known.items()))
    (folder / "dcmqrscp.cfg").write_text(
        "MaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{table}\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{ae_title} {store} RW (1000, 8192mb) ANY\nAETable END\n"
    )
    with process(lambda port: [dcmtk("dcmqrscp"), "-c", folder / "dcmqrscp.cfg", str(port)], folder) as port:
        yield port


@dataclass(frozen=True)
class Orthanc:
    """Where an Orthanc listens, for DICOM and for HTTP."""

    port: int
    http: int


@contextmanager
def orthanc(
    folder: Path, ae_title: str = "ORTHANC", modalities: Mapping[str, tuple[str, str, int]] | None = None
) -> Iterator[Orthanc]:
    """An Orthanc without plugins that keeps all in `folder`. `modalities`: AE title, host and port by name."""
    http = free_port()

    def command(port: int) -> list[str | Path]:
        configuration = {
            "Name": "test",
            "StorageDirectory": str(folder / "orthanc"),
            "IndexDirectory": str(folder / "orthanc"),
            "Plugins": [],
            "DicomAet": ae_title,
            "DicomPort": port,
            "HttpPort": http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "DicomAlwaysAllowGet": True,
            "UnknownSopClassAccepted": True,
            "StorageCompression": False,
            "OverwriteInstances": False,
            "DicomModalities": {name: list(modality) for name, modality in (modalities or {}).items()},
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        return ["Orthanc", folder / "orthanc.json"]

    with process(command, folder) as port:
        yield Orthanc(port, http)


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


@dataclass(frozen=True)
class Certificates:
    """A CA and what it signed: a certificate for `archive.test`, the same expired, and one for a client. Beside it another CA."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> "Certificates":
        """Makes them by the command `openssl`."""
        needs("openssl", shutil.which("openssl") is not None)
        made = cls(folder)
        for ca in ("ca", "other"):
            made._openssl("req", "-x509", *made._new(ca, f"/CN={ca}"), "-days", "30", "-out", f"{ca}.pem")
        for name in ("peer", "client"):
            host = ["-addext", "subjectAltName=DNS:archive.test"]
            made._openssl("req", "-new", *made._new(name, f"/CN={name}"), *host, "-out", f"{name}.csr")
            made._signed(name, name, "30")
        made._signed("peer", "expired", "-1")
        shutil.copy(folder / "peer.key", folder / "expired.key")
        return made

    def __getitem__(self, name: str) -> Path:
        """The certificate of a name, or the key where it is `name.key`."""
        return self.folder / (name if name.endswith(".key") else f"{name}.pem")

    def server(self, name: str = "peer", *, ask: bool = False) -> ssl.SSLContext:
        """What a peer with that certificate secures its connections with; `ask`: it wants a certificate of the other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self[name], self[f"{name}.key"])
        context.load_verify_locations(self["ca"])
        context.verify_mode = ssl.CERT_REQUIRED if ask else ssl.CERT_NONE
        return context

    def _new(self, name: str, subject: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-subj", subject]

    def _signed(self, name: str, out: str, days: str) -> None:
        ca = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy"]
        self._openssl("x509", "-req", "-in", f"{name}.csr", *ca, "-days", days, "-out", f"{out}.pem")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
