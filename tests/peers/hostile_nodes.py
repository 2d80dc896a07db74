"""Nodes that break the protocol, or keep it without end. Each is a raw socket server with one way of its own.

Whatever it is not hostile at it does honestly: it has one series, stores what it gets, and commits to it.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pyconquest_rules.network import wire
from tests.peers import pdus
from tests.peers.pdus import CT, Archive, acceptance, item, pdu

SERIES = {"PatientID": "P1", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "SOPClassUID": CT}
INSTANCE = SERIES | {"SOPInstanceUID": "1.2.3.1.1", "Modality": "CT"}
MATCH = pdus.data_set({"PatientID": "P1", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1"} | INSTANCE)
FLOOD = bytes(1 << 16)
STORE: dict[int, bytes | int] = {
    wire.AFFECTED_SOP_CLASS: CT.encode(),
    wire.COMMAND_FIELD: wire.C_STORE_RQ,
    wire.MESSAGE_ID: 7,
    wire.PRIORITY: 0,
    wire.DATA_SET_TYPE: wire.HAS_DATA_SET,
}
ECHO: dict[int, bytes | int] = {
    wire.AFFECTED_SOP_CLASS: b"1.2.840.10008.1.1",
    wire.COMMAND_FIELD: wire.C_ECHO_RQ,
    wire.MESSAGE_ID: 7,
    wire.DATA_SET_TYPE: wire.NO_DATA_SET,
}


@dataclass
class Request:
    """A request that came, and how to do something with it."""

    connection: socket.socket
    over: wire.Wire
    context_id: int
    command: Mapping[int, bytes]
    contexts: Mapping[int, list[str]]

    @property
    def kind(self) -> int:
        """The Command Field."""
        return wire.number(self.command, wire.COMMAND_FIELD)

    def response(self, status: int, data: bool = False, **other: int) -> bytes:
        """A command that responds; `other` are elements by their names in `wire`."""
        sop_class = self.command.get(wire.AFFECTED_SOP_CLASS) or self.command.get(wire.REQUESTED_SOP_CLASS, b"")
        elements: dict[int, bytes | int] = {
            wire.AFFECTED_SOP_CLASS: sop_class,
            wire.COMMAND_FIELD: self.kind | wire.RESPONSE,
            wire.MESSAGE_ID_RESPONDED: wire.number(self.command, wire.MESSAGE_ID),
            wire.DATA_SET_TYPE: wire.HAS_DATA_SET if data else wire.NO_DATA_SET,
            wire.STATUS: status,
        }
        elements |= {getattr(wire, name): number for name, number in other.items()}
        return wire.command_set(elements)

    def message(self, command: bytes, data: bytes = b"") -> bytes:
        """A message in the context of the request."""
        return wire.message(self.context_id, command, 16384, data)

    def pending(self, data: bytes = b"", **other: int) -> bytes:
        """A pending response."""
        return self.message(self.response(0xFF00, bool(data), **other), data)

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        self.connection.sendall(data)

    def for_ever(self, *parts: bytes, wait: float = 0.0) -> None:
        """Sends the same again and again, until the other side has enough."""
        for part in parts[:-1]:
            self.send(part)
        once = parts[-1] if wait else parts[-1] * max(1, (1 << 16) // len(parts[-1]))
        while True:
            self.send(once)
            time.sleep(wait)

    def instances(self, uid: Callable[[int], str], *, data_set: bytes = b"", last: int = wire.LAST) -> None:
        """Sends instances without end; reads the answers in between."""
        context_id = next(at for at, (abstract, *_) in self.contexts.items() if abstract == CT)
        for number in range(1 << 40):
            command = wire.command_set({**STORE, wire.AFFECTED_SOP_INSTANCE: uid(number).encode()})
            data = data_set or pdus.data_set(INSTANCE | {"SOPInstanceUID": uid(number)})
            self.send(wire.message(context_id, command, 16384) + wire.p_data(context_id, last, data) + data)
            if last:
                self.over.read_pdu(20)


Act = Callable[[Request], None]


def fragment(request: Request, data: bytes, control: int = 0, context_id: int | None = None) -> bytes:
    """A P-DATA-TF PDU."""
    return wire.p_data(request.context_id if context_id is None else context_id, control, data) + data


def nested(depth: int) -> bytes:
    """A match with a sequence in a sequence in a sequence, without lengths."""
    begin = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return begin * depth + end * depth + MATCH


def many_items(number: int) -> bytes:
    """A match with a sequence of empty items."""
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * number
    return struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + MATCH


def long_value(element: str, text: str) -> bytes:
    """A match with a value of many characters; its length needs 32 bits."""
    tag, _ = pdus.KEYWORDS[element]
    head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"UT", 0, len(text))
    return head + text.encode()


def wrong(**elements: int) -> Act:
    """A response with other elements than it must have, again and again."""
    return lambda request: request.for_ever(request.message(request.response(0xFF00, False, **elements)))


def slowly(data: bytes) -> Act:
    """One byte after the other."""

    def act(request: Request) -> None:
        for number in range(len(data)):
            request.send(data[number : number + 1])
            time.sleep(0.1)

    return act


def in_a_trickle(request: Request) -> None:
    """A data set of which each byte is a PDU of its own, and comes in time."""
    request.for_ever(request.message(request.response(0xFF00, data=True)), fragment(request, b"\0"), wait=0.1)


def silent(request: Request) -> None:
    request.connection.settimeout(60)
    with suppress(OSError):
        while request.connection.recv(1 << 16):
            pass


def half(request: Request) -> None:
    request.send(request.pending(MATCH)[:20])
    request.connection.close()


def counting(request: Request) -> None:
    """Sub-operations are said to go on, and nothing comes."""
    for number in range(1 << 40):
        request.send(request.pending(COMPLETED=number % 60_000, REMAINING=60_000, FAILED=0, WARNING=0))
        time.sleep(0.35)


def stored_late(request: Request) -> None:
    """All is stored, and the final response never comes."""
    request.send(request.pending(COMPLETED=1, REMAINING=0, FAILED=0, WARNING=0))
    silent(request)


GIGABYTES = struct.pack(">BxI", 4, 0xFFFFFFFF)

ANSWERS: dict[str, Act] = {
    "silence": silent,
    "a PDU of 4 GB": lambda request: request.for_ever(GIGABYTES, FLOOD),
    "a PDU longer than max_pdu": lambda request: request.for_ever(struct.pack(">BxI", 4, 200_000), FLOOD),
    "a PDU byte by byte": lambda request: slowly(request.pending(MATCH) * 100)(request),
    "an identifier without end": lambda request: request.for_ever(
        request.message(request.response(0xFF00, data=True)), fragment(request, FLOOD[:16000])
    ),
    "an identifier in a trickle": in_a_trickle,
    "matches without end": lambda request: request.for_ever(request.pending(MATCH)),
    "matches without end, slowly": lambda request: request.for_ever(request.pending(MATCH), wait=0.35),
    "pending without end": lambda request: request.for_ever(request.pending()),
    "pending without end, slowly": lambda request: request.for_ever(request.pending(), wait=0.35),
    "another message ID": wrong(MESSAGE_ID_RESPONDED=77),
    "another command": wrong(COMMAND_FIELD=0x8FFF),
    "another context": lambda request: request.for_ever(fragment(request, request.response(0), 3, 251)),
    "P-DATA without a fragment": lambda request: request.for_ever(struct.pack(">BxI", 4, 0)),
    "fragments without a byte": lambda request: request.for_ever(fragment(request, b"")),
    "empty fragments of a data set": lambda request: request.for_ever(
        request.message(request.response(0xFF00, data=True)), fragment(request, b"")
    ),
    "a fragment longer than its PDU": lambda request: request.for_ever(struct.pack(">BxIIBB", 4, 6, 1 << 31, 1, 3)),
    "a fragment shorter than its head": lambda request: request.for_ever(struct.pack(">BxIIBB", 4, 6, 1, 1, 3)),
    "a command without end": lambda request: request.for_ever(fragment(request, bytes(1000), wire.COMMAND)),
    "an empty command": lambda request: request.for_ever(fragment(request, b"", 3)),
    "an element longer than its command": lambda request: request.for_ever(
        fragment(request, struct.pack("<HHI", 0, 0x0100, 0xFFFFFFFF), 3)
    ),
    "a data set that never comes": lambda request: request.for_ever(request.message(request.response(0xFF00, data=True))),
    "requests of its own": lambda request: request.for_ever(request.message(wire.command_set(ECHO))),
    "an instance without end": lambda request: request.for_ever(
        request.message(wire.command_set({**STORE, wire.AFFECTED_SOP_INSTANCE: b"1.2"})), fragment(request, FLOOD[:16000])
    ),
    "a PDU of no kind": lambda request: request.for_ever(pdu(9, FLOOD)),
    "a second acceptance": lambda request: request.for_ever(pdu(2, FLOOD[:100])),
    "release instead of an answer": lambda request: request.for_ever(pdu(5, bytes(4))),
    "abort": lambda request: request.send(pdu(7, bytes(4))),
    "half a PDU": half,
}
"""What comes instead of the answer to a request. All of these are errors, whatever the request."""

ODD_MATCHES: dict[str, bytes] = {
    "a sequence 10,000 deep": nested(10_000),
    "a sequence of 100,000 empty items": many_items(100_000),
    "a UID of a megabyte": long_value("StudyInstanceUID", "1" * 900_000),
    "a PatientID of a megabyte": long_value("PatientID", "P" * 900_000),
    "no data set": FLOOD,
}
"""Matches that cannot be used, or only with care. What follows them can be."""

AT_GET: dict[str, Act] = {
    "instances that nobody wants": lambda request: request.instances(lambda number: f"1.2.9.{number}"),
    "instances without a UID": lambda request: request.instances(lambda number: "x" * 60_000),
    "the same instance for ever": lambda request: request.instances(lambda number: INSTANCE["SOPInstanceUID"]),
    "an instance in a trickle": lambda request: request.instances(
        lambda number: INSTANCE["SOPInstanceUID"], data_set=b"\0\0", last=0
    ),
    "progress that is none": counting,
    "no final response": stored_late,
}
"""What comes instead of the instances. Before it the node answered C-FIND as it should."""


def titled(asked: bytes, contexts: bytes) -> bytes:
    """An acceptance with these contexts."""
    return pdu(2, asked[:68], pdus.CONTEXT_NAME, contexts, item(0x50, pdus.LENGTH, pdus.CLASS))


def answered(number: int, syntax: bytes) -> bytes:
    return item(0x21, bytes([number % 256, 0, 0, 0]), item(0x40, syntax))


ASSOCIATIONS: dict[str, Callable[[bytes], list[bytes]]] = {
    "no acceptance": lambda asked: [],
    "an acceptance of 4 GB": lambda asked: [struct.pack(">BxI", 2, 0xFFFFFFFF), *[FLOOD] * 100_000],
    "a thousand contexts": lambda asked: [titled(asked, b"".join(answered(number, b"1.2.3") for number in range(1000)))],
    "a megabyte of items": lambda asked: [titled(asked, item(0x99) * 250_000)],
    "a UID of 60,000 characters": lambda asked: [titled(asked, answered(1, b"1" * 60_000))],
    "an item longer than its PDU": lambda asked: [titled(asked, item(0x21, length=60_000))],
    "another web server": lambda asked: [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 1000],
    "P-DATA instead of an acceptance": lambda asked: [pdu(4, bytes(1000))] * 1000,
    "an acceptance byte by byte": lambda asked: [acceptance(asked)[at : at + 1] for at in range(1000)],
    "a short rejection": lambda asked: [pdu(3, b"\0")],
}
"""What comes instead of the acceptance of an association, in pieces."""


@dataclass
class Hostile(Archive):
    """An archive that does `act` when a request of one of `kinds` comes, `after` once the association is released.

    `begun` is what it answers to the request of an association, if that is not acceptance. `has` is by default one instance.
    `stored` are the SOPInstanceUIDs that came by C-STORE.
    """

    act: Act | None = None
    kinds: tuple[int, ...] = (wire.C_FIND_RQ, wire.C_GET_RQ, wire.C_MOVE_RQ, wire.N_ACTION_RQ)
    begun: Callable[[bytes], list[bytes]] | None = None
    after: bytes = b""
    stored: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.has = self.has or [INSTANCE]
        self.sent = self.sent or [INSTANCE]

    @contextmanager
    def serving(self) -> Iterator[int]:
        """Gives the port."""
        with self.listening() as node:
            yield node.port

    def _serve(self, connection: socket.socket) -> None:
        over = wire.Wire(connection, longest=1 << 20, seconds=60)
        with suppress(wire.WireError, OSError), connection:
            asked = bytes(over.read_pdu(20)[1])
            if self.begun is not None:
                self._begin(connection, asked)
                return
            connection.sendall(acceptance(asked))
            contexts = {
                content[0]: [value.decode() for _, value in pdus.items(content[4:])]
                for kind, content in pdus.items(asked[68:])
                if kind == 0x20
            }
            while message := self._message(over):
                context_id, command, data = message
                self._answer(Request(connection, over, context_id, command, contexts), data)
            while self.after:
                connection.sendall(self.after)
            over.write(wire.HEAD.pack(wire.RELEASE_RP, 4) + bytes(4))

    def _begin(self, connection: socket.socket, asked: bytes) -> None:
        pieces = self.begun(asked) if self.begun is not None else []
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.1 if len(piece) == 1 else 0)
        silent(Request(connection, wire.Wire(connection, longest=1, seconds=1), 0, {}, {}))

    def _answer(self, request: Request, data: bytes) -> None:
        if self.act is not None and request.kind in self.kinds:
            self.act(request)
        elif request.kind == wire.C_FIND_RQ:
            self._find(request.over, request.context_id, request.command, data)
        elif request.kind == wire.C_GET_RQ:
            self._get(request.over, request.context_id, request.command, request.contexts)
        elif request.kind == wire.C_STORE_RQ:
            self.stored.append(request.command[wire.AFFECTED_SOP_INSTANCE].decode())
            request.send(request.message(request.response(0)))
        elif request.kind == wire.N_ACTION_RQ:
            request.send(request.message(request.response(0)))
            # The report that all is committed to has the elements of the request.
            request.send(request.message(EVENT, data))
            self._message(request.over)
        else:
            request.send(request.message(request.response(0)))


EVENT = wire.command_set(
    {
        wire.AFFECTED_SOP_CLASS: b"1.2.840.10008.1.20.1",
        wire.COMMAND_FIELD: wire.N_EVENT_REPORT_RQ,
        wire.MESSAGE_ID: 9,
        wire.DATA_SET_TYPE: wire.HAS_DATA_SET,
        wire.AFFECTED_SOP_INSTANCE: b"1.2.840.10008.1.20.1.1",
        wire.EVENT_TYPE: 1,
    }
)


@contextmanager
def stalled_handshake() -> Iterator[int]:
    """A port that accepts connections and says nothing: no handshake of TLS comes to its end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = list[socket.socket]()

        def accept() -> None:
            with suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield int(server.getsockname()[1])
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        for connection in taken:
            connection.close()
