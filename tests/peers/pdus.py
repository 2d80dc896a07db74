"""Association PDUs as bytes, made by hand: what no toolkit writes; and an archive that answers with them."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pyconquest_rules.network import wire
from pyconquest_rules.network.node import Node

CT, EXPLICIT, IMPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
BLOCK = bytes(1 << 15)


def item(kind: int, *contents: bytes, reserved: int = 0, length: int | None = None) -> bytes:
    """An item or sub-item, whose length may be a wrong one."""
    content = b"".join(contents)
    return struct.pack(">BBH", kind, reserved, len(content) if length is None else length) + content


def pdu(kind: int, *contents: bytes, reserved: int = 0) -> bytes:
    """A whole PDU."""
    content = b"".join(contents)
    return struct.pack(">BBI", kind, reserved, len(content)) + content


def context(number: int, abstract: bytes, *transfer: bytes, reserved: int = 0) -> bytes:
    """A proposed presentation context."""
    syntaxes = (item(0x40, each, reserved=reserved) for each in transfer)
    return item(0x20, bytes([number, reserved, reserved, reserved]), item(0x30, abstract), *syntaxes, reserved=reserved)


LENGTH, CLASS = item(0x51, struct.pack(">I", 16384)), item(0x52, b"1.2.3.4")
CONTEXT_NAME = item(0x10, b"1.2.840.10008.3.1.1.1")
ON_CT = context(1, CT.encode(), EXPLICIT.encode())


def request(
    *,
    called: bytes = b"RULES",
    calling: bytes = b"ME",
    contexts: bytes = ON_CT,
    user: bytes = LENGTH + CLASS,
    name: bytes = CONTEXT_NAME,
    more: bytes = b"",
    version: int = 1,
    reserved: bytes = bytes(34),
) -> bytes:
    """The content of an A-ASSOCIATE-RQ."""
    fixed = struct.pack(">H", version) + reserved[:2] + called.ljust(16)[:16] + calling.ljust(16)[:16] + reserved[2:]
    return fixed + name + contexts + item(0x50, user) + more


def role(uid: str, scu: int, scp: int) -> bytes:
    """A role selection sub-item."""
    return item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes([scu, scp]))


def acceptance(asked: bytes, user: bytes = LENGTH + CLASS, more: bytes = b"", reserved: int = 0) -> bytes:
    """An A-ASSOCIATE-AC that accepts all that was asked, each context in its first transfer syntax."""
    answers = b""
    for kind, content in items(asked[68:]):
        if kind == 0x20:
            syntax = next(value for sub, value in items(content[4:]) if sub == 0x40)
            answers += item(0x21, bytes([content[0], reserved, 0, reserved]), item(0x40, syntax), reserved=reserved)
    return pdu(2, asked[:68], CONTEXT_NAME, answers, item(0x50, user), more, reserved=reserved)


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and contents of items."""
    while data:
        kind, length = struct.unpack_from(">BxH", data)
        yield kind, data[4 : 4 + length]
        data = data[4 + length :]


def element(tag: int, vr: str, value: str, explicit: bool = True) -> bytes:
    """An element in little endian."""
    data = value.encode() + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    return head + (vr.encode() + struct.pack("<H", len(data)) if explicit else struct.pack("<I", len(data))) + data


KEYWORDS = {
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "QueryRetrieveLevel": (0x00080052, "CS"),
    "Modality": (0x00080060, "CS"),
    "PatientID": (0x00100020, "LO"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
}


def data_set(values: Mapping[str, str], pixels: int = 0) -> bytes:
    """A data set in explicit VR little endian, or the beginning of one: so many bytes of pixels are to follow."""
    elements = sorted((*KEYWORDS[keyword], value) for keyword, value in values.items())
    texts = b"".join(element(*each) for each in elements)
    return texts + (struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, pixels) if pixels else b"")


@dataclass
class Archive:
    """Answers C-FIND with what it says that it has, and C-GET with what it sends; with 0xA900 for each that was refused.

    `user` is what it puts behind its user information. `sent` are instances by their values, each in the context of its class,
    with so many bytes of pixels, as `sent_as` changes their bytes. `answered` are the statuses that it got.
    """

    has: Sequence[Mapping[str, str]] = ()
    sent: Sequence[Mapping[str, str]] = ()
    user: bytes = b""
    pixels: int = 0
    find_answers: Callable[[str, Mapping[str, str]], list[bytes]] | None = None
    sop_instance: Callable[[str], str] = str
    sent_as: Callable[[bytes], bytes] = bytes
    answered: list[int] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[Node]:
        """The archive as a node, on a free port."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=self._accept, args=[server], daemon=True).start()
            yield Node("peer", "PEER", "127.0.0.1", server.getsockname()[1], acse_timeout=10, dimse_timeout=10)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=[server.accept()[0]], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        over = wire.Wire(connection, longest=1 << 20, seconds=20)
        with suppress(wire.WireError), connection:
            asked = bytes(over.read_pdu(20)[1])
            over.write(acceptance(asked, LENGTH + CLASS + self.user))
            contexts = {
                content[0]: [value.decode() for _, value in items(content[4:])]
                for kind, content in items(asked[68:])
                if kind == 0x20
            }
            while message := self._message(over):
                context_id, command, data = message
                if wire.number(command, wire.COMMAND_FIELD) == wire.C_FIND_RQ:
                    self._find(over, context_id, command, data)
                elif wire.number(command, wire.COMMAND_FIELD) == wire.C_GET_RQ:
                    self._get(over, context_id, command, contexts)
            over.write(wire.HEAD.pack(wire.RELEASE_RP, 4) + bytes(4))

    def _message(self, over: wire.Wire) -> tuple[int, dict[int, bytes], bytes] | None:
        command, data, context_id, parsed = b"", b"", 0, dict[int, bytes]()
        while True:
            fragments = list(over.fragments(20))
            if not fragments:
                return None
            for context_id, control, part in fragments:
                if control & wire.COMMAND:
                    command += bytes(part)
                else:
                    data += bytes(part)
                if control == wire.COMMAND | wire.LAST:
                    parsed = wire.parsed(command)
                    if wire.number(parsed, wire.DATA_SET_TYPE) == wire.NO_DATA_SET:
                        return context_id, parsed, b""
                elif control == wire.LAST:
                    return context_id, parsed, data

    def _respond(
        self, over: wire.Wire, context_id: int, command: Mapping[int, bytes], status: int, data: bytes = b"", **more: int
    ) -> None:
        answer: dict[int, bytes | int] = {
            wire.AFFECTED_SOP_CLASS: command[wire.AFFECTED_SOP_CLASS],
            wire.COMMAND_FIELD: wire.number(command, wire.COMMAND_FIELD) | wire.RESPONSE,
            wire.MESSAGE_ID_RESPONDED: wire.number(command, wire.MESSAGE_ID),
            wire.DATA_SET_TYPE: wire.HAS_DATA_SET if data else wire.NO_DATA_SET,
            wire.STATUS: status,
        }
        answer |= {getattr(wire, name): number for name, number in more.items()}
        over.write(wire.message(context_id, wire.command_set(answer), 16384, data))

    def _find(self, over: wire.Wire, context_id: int, command: Mapping[int, bytes], data: bytes) -> None:
        level = next(level for level in ("IMAGE", "SERIES", "STUDY") if level.encode() in data)
        key = {"IMAGE": "SOPInstanceUID", "SERIES": "SeriesInstanceUID", "STUDY": "StudyInstanceUID"}[level]
        keywords = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"]
        shown = keywords[: {"STUDY": 2, "SERIES": 3, "IMAGE": 5}[level]]
        for values in {entity[key]: entity for entity in self.has}.values():
            told = {keyword: values[keyword] for keyword in shown if keyword in values} | {"QueryRetrieveLevel": level}
            for answer in [data_set(told)] if self.find_answers is None else self.find_answers(level, told):
                self._respond(over, context_id, command, 0xFF00, answer)
        self._respond(over, context_id, command, 0)

    def _get(self, over: wire.Wire, context_id: int, command: Mapping[int, bytes], contexts: Mapping[int, list[str]]) -> None:
        stored = 0
        for number, values in enumerate(self.sent):
            proposed = (at for at, (abstract, *syntaxes) in contexts.items() if (abstract, syntaxes[0]) == (CT, EXPLICIT))
            context = next(proposed)
            store: dict[int, bytes | int] = {
                wire.AFFECTED_SOP_CLASS: values["SOPClassUID"].encode(),
                wire.COMMAND_FIELD: wire.C_STORE_RQ,
                wire.MESSAGE_ID: 100 + number,
                wire.PRIORITY: 0,
                wire.DATA_SET_TYPE: wire.HAS_DATA_SET,
                wire.AFFECTED_SOP_INSTANCE: self.sop_instance(values["SOPInstanceUID"]).encode(),
            }
            over.write(wire.message(context, wire.command_set(store), 16384))
            head = self.sent_as(data_set(values, self.pixels))
            over.write(wire.p_data(context, 0 if self.pixels else wire.LAST, head), head)
            for at in range(0, self.pixels, len(BLOCK)):
                last = wire.LAST if at + len(BLOCK) >= self.pixels else 0
                over.write(wire.p_data(context, last, BLOCK), BLOCK)
            answer = self._message(over)
            if answer is None:
                return
            self.answered.append(wire.number(answer[1], wire.STATUS))
            stored += self.answered[-1] == 0
        failed = len(self.sent) - stored
        status = 0 if not failed else 0xB000 if stored else 0xA702
        self._respond(over, context_id, command, status, COMPLETED=stored, FAILED=failed, REMAINING=0, WARNING=0)
