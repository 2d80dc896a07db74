"""Callers of a listener: DCMTK's tools, and a storage SCU on a raw socket that can also misbehave."""

import os
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

from pyconquest_rules.network import wire as dimse
from pyconquest_rules.network.node import Node
from pyconquest_rules.network.outgoing import Instance
from pyconquest_rules.network.storage_scu import Sender, Sent
from pyconquest_rules.network.wire import Lost, Wire
from tests.dcmtk import dcmtk as path_of

CT, MR, VERIFICATION = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT, JPEG_BASELINE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
CONTEXTS = [(VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT]), (MR, [EXPLICIT])]
ON_VERIFICATION, ON_CT = 1, 3
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def dcmtk(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs one of DCMTK's tools."""
    return subprocess.run([path_of(program), *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True, check=False)


def element(number: int, value: str) -> bytes:
    text = value.encode() + b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", 8, number, b"UI", len(text)) + text


def small(uid: str, sop_class: str = CT, more: bytes = b"") -> bytes:
    """A small data set in Explicit VR Little Endian, with `more` as its Pixel Data."""
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(more)) + more if more else b""
    return element(0x0016, sop_class) + element(0x0018, uid) + pixels


class Peer:
    """A peer of our own, which can do the right thing and the wrong thing."""

    def __init__(self, port: int) -> None:
        self.wire = Wire(socket.create_connection(("127.0.0.1", port)), longest=1 << 20, seconds=30)
        self.message_id = 0

    def request(
        self, *, called: str = "RULES", calling: str = "CLINIC", contexts: list[tuple[str, list[str]]] = CONTEXTS
    ) -> tuple[int, bytes]:
        """Asks for an association: the type of the answer and its content."""
        request = A_ASSOCIATE()
        request.application_context_name = "1.2.840.10008.3.1.1.1"
        request.called_ae_title, request.calling_ae_title = called, calling
        proposed = []
        for number, (abstract, transfer) in enumerate(contexts):
            context = build_context(abstract, transfer)
            context.context_id = 2 * number + 1
            proposed.append(context)
        request.presentation_context_definition_list = proposed
        length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
        length.maximum_length_received, implementation.implementation_class_uid = 16382, "1.2.3"
        request.user_information = [length, implementation]
        self.wire.write(A_ASSOCIATE_RQ(request).encode())
        kind, data = self.wire.read_pdu(30)
        return kind, bytes(data)

    def associated(self) -> "Peer":
        assert self.request()[0] == 2
        return self

    def store(self, uid: str, data: bytes | None = None, context_id: int = ON_CT, sop_class: str = CT) -> int:
        """Stores an instance: the status."""
        data = small(uid, sop_class) if data is None else data
        self.command(dimse.C_STORE_RQ, uid, context_id, sop_class)
        self.data(data, context_id)
        return self.status()

    def command(self, kind: int, uid: str = "", context_id: int = ON_CT, sop_class: str = CT, *, data_set: bool = True) -> None:
        self.message_id += 1
        elements: dict[int, bytes | int] = {
            dimse.AFFECTED_SOP_CLASS: sop_class.encode(),
            dimse.COMMAND_FIELD: kind,
            dimse.MESSAGE_ID: self.message_id,
            dimse.DATA_SET_TYPE: dimse.HAS_DATA_SET if data_set else dimse.NO_DATA_SET,
        }
        if uid:
            elements[dimse.AFFECTED_SOP_INSTANCE] = uid.encode()
        self.wire.write(dimse.message(context_id, dimse.command_set(elements), 16384))

    def data(self, data: bytes, context_id: int = ON_CT, *, last: bool = True, size: int = 10000) -> None:
        """Sends data of a data set in PDUs of a size."""
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            control = dimse.LAST if last and start + size >= len(data) else 0
            self.wire.write(dimse.p_data(context_id, control, piece) + piece)

    def status(self) -> int:
        """The status of the next answer, which must be of the last message."""
        (fragment,) = self.wire.fragments(30)
        command = dimse.parsed(bytes(fragment.data))
        assert dimse.number(command, dimse.MESSAGE_ID_RESPONDED) == self.message_id
        return dimse.number(command, dimse.STATUS)

    def echo(self) -> int:
        self.command(dimse.C_ECHO_RQ, context_id=ON_VERIFICATION, sop_class=VERIFICATION, data_set=False)
        return self.status()

    def is_cut_off(self) -> bool:
        """Waits for the end of the connection, with or without A-ABORT."""
        try:
            kind, _ = self.wire.read_pdu(30)
            return kind == dimse.ABORT
        except Lost as lost:
            return str(lost) != "the peer is silent"


def send(
    node: Node, instances: Iterable[Instance], *, max_rate: float | None = None, transcode: bool = True
) -> Iterator[tuple[Instance, Sent]]:
    """Send instances with a `Sender` that is used once."""
    with Sender(node, max_rate=max_rate, transcode=transcode) as sender:
        yield from sender.send(instances)
