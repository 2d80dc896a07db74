"""The PDUs of associations: listener and caller ignore unused items, and refuse invalid ones."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconquest_rules.network import associate, wire
from pyconquest_rules.network.associate import Acceptance, Answered, Proposed, Rejection, Request, Roles
from pyconquest_rules.network.association import echo
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.storage_scp import Listener, Listening
from tests.network.folder import Folder
from tests.peers.pdus import (
    CLASS,
    CONTEXT_NAME,
    CT,
    EXPLICIT,
    IMPLICIT,
    LENGTH,
    ON_CT,
    acceptance,
    context,
    item,
    pdu,
    request,
    role,
)

UID = CT.encode()
LONG_UID = b"1.2." + b"9" * 80
USER = {
    "version name of 24 letters": item(0x55, b"A_VERY_LONG_VERSION_NAME"),
    "version name with NULs": item(0x55, b"V1\0\0"),
    "version name that is empty": item(0x55),
    "version name in Latin-1": item(0x55, b"M\xfcLLER \xff"),
    "two version names": item(0x55, b"A") + item(0x55, b"B"),
    "class UID with a NUL": item(0x52, b"1.2.3\0"),
    "class UID that is none": item(0x52, b"no UID at all"),
    "class UID that is too long": item(0x52, LONG_UID),
    "sub-item 5A": item(0x5A, b"abcd"),
    "sub-item FF, of no content": item(0xFF),
    "sub-item 0": item(0, b"x" * 999),
    "asynchronous operations": item(0x53, struct.pack(">HH", 0, 5)),
    "asynchronous operations cut short": item(0x53, b"\0"),
    "user identity of a type to come": item(0x58, b"\x63\1\0\4user\0\0"),
    "user identity, a token": item(0x58, b"\5\0" + struct.pack(">H", 9000) + b"t" * 9000 + b"\0\0"),
    "user identity cut short": item(0x58, b"\2"),
    "user identity answered": item(0x59, struct.pack(">H", 3) + b"abc"),
    "extended negotiation": item(0x56, struct.pack(">H", len(UID)) + UID + b"\2\0\1\1\0\0\7\7"),
    "extended negotiation cut short": item(0x56, b"\0\x40x"),
    "common extended negotiation": item(0x57, struct.pack(">H", len(UID)) + UID + struct.pack(">H", 2) + b"1.", reserved=9),
    "role of no SOP class": role("", 1, 1),
    "role cut short": item(0x54, struct.pack(">H", 40) + b"1.2"),
    "role of strange values": role(CT, 7, 255),
    "reserved bytes": item(0x77, b"what", reserved=255),
}
"""Sub-items of user information that have no effect."""


@contextmanager
def listening(folder: Path) -> Iterator[Listener]:
    """Start a listener for RULES that allows ME."""
    listener = Listener(Listening("RULES", allow=("ME",)), Folder(folder))
    listener.start()
    yield listener
    listener.stop(0)


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    """A listener for all tests."""
    with listening(tmp_path_factory.mktemp("kept")) as listener:
        yield listener


def answer(listener: Listener, content: bytes, reserved: int = 0) -> tuple[int, bytes]:
    """Return the answer of a listener to a request."""
    with socket.create_connection(("127.0.0.1", listener.port)) as connection:
        over = wire.Wire(connection, longest=1 << 20, seconds=30)
        over.write(pdu(1, content, reserved=reserved))
        kind, data = over.read_pdu(30)
        return kind, bytes(data)


@pytest.mark.parametrize("extra", USER.values(), ids=[*USER])
@pytest.mark.parametrize("first", [False, True], ids=["behind", "before"])
def test_a_listener_ignores_unused_items(extra: bytes, first: bool, listener: Listener) -> None:
    kind, data = answer(listener, request(user=extra + LENGTH + CLASS if first else LENGTH + CLASS + extra))
    assert kind == 2
    assert associate.read_acceptance(memoryview(data)).contexts == (Answered(1, 0, EXPLICIT),)


@pytest.mark.parametrize("extra", USER.values(), ids=[*USER])
def test_a_caller_ignores_unused_items(extra: bytes) -> None:
    with accepting(user=LENGTH + CLASS + extra) as node:
        echo(node)


@pytest.mark.parametrize(
    ("called", "calling"),
    [
        (b"RULES" + bytes(11), b"ME" + bytes(14)),
        (b"RULES \0        \0", b"ME\0 \0 \0"),
        (b"RULES\0garbage", b"ME\0\xff\xfe"),
        (b"  RULES", b"    ME"),
        (b"\0RULES\0", b"\0\0ME"),
        (b"RULES", b" ME \0"),
    ],
)
def test_ae_titles_are_read_without_padding(called: bytes, calling: bytes, listener: Listener) -> None:
    assert answer(listener, request(called=called, calling=calling))[0] == 2


@pytest.mark.parametrize(
    ("change", "rejected"),
    [
        ({"called": b"RULE\0"}, (1, 1, 7)),
        ({"called": b"RULES2"}, (1, 1, 7)),
        ({"called": bytes(16)}, (1, 1, 7)),
        ({"calling": b"YOU" + bytes(13)}, (1, 1, 3)),
        ({"calling": b"M\xfcLLER"}, (1, 1, 3)),
        ({"calling": bytes(16)}, (1, 1, 3)),
        ({"version": 2}, (1, 2, 2)),
        ({"name": item(0x10, b"1.2.840.10008.3.1.1.2")}, (1, 1, 2)),
    ],
)
def test_wrong_ae_titles_are_rejected_with_the_reason(
    change: dict[str, bytes], rejected: tuple[int, int, int], listener: Listener
) -> None:
    kind, data = answer(listener, request(**change))  # type: ignore[arg-type]
    assert (kind, tuple(data[1:])) == (3, rejected)


@pytest.mark.parametrize("calling", [b" " * 16, bytes(16), b"M\xfcLLER", b"\x1b[31mRED", b"ME" + bytes(14)])
def test_a_listener_without_allow_accepts_any_caller(calling: bytes, tmp_path: Path) -> None:
    listener = Listener(Listening("RULES"), Folder(tmp_path))
    listener.start()
    assert answer(listener, request(calling=calling))[0] == 2
    listener.stop(0)
    assert associate.read_request(memoryview(request(calling=calling))).calling_ae_title.isprintable()


CONTEXTS = {
    "NUL behind UIDs": (context(1, UID + b"\0", EXPLICIT.encode() + b"\0"), {1: 0}),
    "space behind UIDs": (context(1, UID + b" ", EXPLICIT.encode() + b" "), {1: 0}),
    "even ID": (context(2, UID, EXPLICIT.encode()), {2: 0}),
    "ID twice": (ON_CT + context(1, UID, IMPLICIT.encode()), {1: 0}),
    "no transfer syntax": (context(1, UID) + context(3, UID, IMPLICIT.encode()), {1: 4, 3: 0}),
    "UIDs that are none": (context(1, b"ABC", b"x") + context(3, LONG_UID, b"1.2") + context(5, UID, UID), {1: 3, 3: 3, 5: 4}),
    "transfer syntax that is too long": (context(1, UID, LONG_UID, EXPLICIT.encode()), {1: 0}),
    "reserved bytes": (context(1, UID, EXPLICIT.encode(), reserved=255), {1: 0}),
    "unknown sub-item": (item(0x20, b"\1\0\0\0", item(0x31, b"x"), item(0x30, UID), item(0x40, EXPLICIT.encode())), {1: 0}),
    "none": (b"", {}),
}


@pytest.mark.parametrize(("contexts", "results"), CONTEXTS.values(), ids=[*CONTEXTS])
def test_each_presentation_context_is_answered_once(contexts: bytes, results: dict[int, int], listener: Listener) -> None:
    kind, data = answer(listener, request(contexts=contexts))
    assert kind == 2
    assert {each.context_id: each.result for each in associate.read_acceptance(memoryview(data)).contexts} == results


@pytest.mark.parametrize(
    "content",
    [
        request(reserved=bytes([255]) * 34),
        request(version=0xFFFF),
        request(more=item(0x99, b"to come")),
        request(more=item(0x60)),
        request(name=item(0x10, b"1.2.840.10008.3.1.1.1\0")),
        request(name=b""),
        request(name=item(0x11, b"?") + CONTEXT_NAME),
        request(user=b""),
        request(user=CLASS + item(0x51, b"\0\1")),
    ],
)
def test_reserved_fields_and_later_additions_are_ignored(content: bytes, listener: Listener) -> None:
    kind, data = answer(listener, content, reserved=255)
    assert kind == 2
    assert data[4:68] == content[4:68]  # an acceptance repeats them (PS3.8 9.3.3)


OVERRUNS = {
    "fixed part": request()[:60],
    "item": request() + item(0x99, b"x", length=2),
    "item head": request() + b"\x50\0",
    "context": request(contexts=item(0x20, bytes(4), length=0xFFFF)),
    "context without an ID": request(contexts=item(0x20, b"\1\0")),
    "abstract syntax": request(contexts=item(0x20, bytes(4), item(0x30, UID, length=200))),
    "transfer syntax": request(contexts=item(0x20, bytes(4), item(0x30, UID), item(0x40, b"1", length=2))),
    "user information": request(user=item(0x55, b"V", length=10)),
    "user information head": request(user=LENGTH + b"\x55"),
}


@pytest.mark.parametrize("content", OVERRUNS.values(), ids=[*OVERRUNS])
def test_an_item_longer_than_its_container_is_an_error(content: bytes, listener: Listener) -> None:
    with pytest.raises(wire.WireError):
        associate.read_request(memoryview(content))
    assert answer(listener, content)[0] == wire.ABORT
    assert answer(listener, request())[0] == 2  # other associations still work


@given(st.binary(max_size=400), st.sampled_from([0, 68, len(request()) // 2, len(request())]))
def test_any_bytes_are_decoded_or_an_error(data: bytes, kept: int) -> None:
    for content in (request()[:kept] + data, acceptance(request())[6:][:kept] + data):
        for read in (associate.read_request, associate.read_acceptance, associate.read_rejection):
            try:
                read(memoryview(content))
            except wire.WireError:
                continue


def test_the_longest_pdu_full_of_empty_items_is_decoded() -> None:
    filled = request() + bytes(associate.LONGEST - len(request()) & ~3)
    assert associate.read_request(memoryview(filled)) == associate.read_request(memoryview(request()))


def test_encoded_pdus_are_decoded_again() -> None:
    contexts = tuple(Proposed(2 * number + 1, CT, (EXPLICIT, IMPLICIT)) for number in range(128))
    asked = Request("CALLED_AE_TITLE_", "ME", contexts, 16384, {CT: Roles(scu=False, scp=True)})
    read = associate.read_request(memoryview(asked.encode())[6:])
    assert (read.called_ae_title, read.calling_ae_title, read.contexts) == ("CALLED_AE_TITLE_", "ME", contexts)
    assert (read.maximum_length, read.roles, read.protocol_version) == (16384, asked.roles, 1)
    answered = Acceptance((Answered(1, 0, EXPLICIT), Answered(3, 4, IMPLICIT)), 0, {CT: Roles(scu=True, scp=True)}, read.echoed)
    there = associate.read_acceptance(memoryview(answered.encode())[6:])
    assert there == Acceptance((Answered(1, 0, EXPLICIT), Answered(3, 4, "")), 0, answered.roles, read.echoed)
    assert associate.read_rejection(memoryview(Rejection(2, 3, 1).encode())[6:]) == Rejection(2, 3, 1)


@pytest.mark.parametrize(
    ("user", "length"),
    [(b"", 16384), (CLASS, 16384), (LENGTH, 16384), (item(0x51, bytes(4)), 0), (item(0x51, b"\0\1\0\0more"), 65536)],
)
def test_the_maximum_length_of_the_peer(user: bytes, length: int) -> None:
    assert associate.read_request(memoryview(request(user=user))).maximum_length == length


@contextmanager
def accepting(raw: bytes | None = None, **answers: Any) -> Iterator[Node]:
    """Start a node that answers an association request with these bytes, or accepts it, and then answers C-ECHO."""

    def serve() -> None:
        connection, _ = server.accept()
        over = wire.Wire(connection, longest=1 << 20, seconds=20)
        try:
            asked = bytes(over.read_pdu(20)[1])
            over.write(raw if raw is not None else acceptance(asked, **answers))
            (fragment,) = over.fragments(20)
            told: dict[int, bytes | int] = {
                wire.COMMAND_FIELD: wire.C_ECHO_RSP,
                wire.MESSAGE_ID_RESPONDED: 1,
                wire.DATA_SET_TYPE: wire.NO_DATA_SET,
                wire.STATUS: 0,
            }
            over.write(wire.message(fragment.context_id, wire.command_set(told), 0))
            over.read_pdu(20)
            over.write(wire.HEAD.pack(wire.RELEASE_RP, 4) + bytes(4))
        except wire.WireError:
            pass
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Node("peer", "PEER", "127.0.0.1", server.getsockname()[1], acse_timeout=20, dimse_timeout=20)
        thread.join(30)


@pytest.mark.parametrize(
    "answers",
    [
        {"user": b""},
        {"more": item(0x99, b"to come")},
        {"more": item(0x21, bytes([99, 0, 0, 0]), item(0x40, IMPLICIT.encode()))},  # of a context that was not proposed
        {"more": item(0x21, bytes([3, 0, 3, 0]))},
        {"more": item(0x21, bytes([5, 0, 4, 0]), item(0x40, b"1", length=9))},  # the content of a refused context is not read
        {"reserved": 255},
    ],
)
def test_a_caller_accepts_an_unusual_acceptance(answers: dict[str, Any]) -> None:
    with accepting(**answers) as node:
        echo(node)


NOT_OURS = "the association was aborted here: "


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (pdu(2, bytes(10)), f"{NOT_OURS}the peer sent an association PDU that is too short"),
        (pdu(2, bytes(68), item(0x50, b"", length=99)), f"{NOT_OURS}the peer sent an association PDU with an item"),
        (pdu(2, bytes(68), item(0x21, b"\1")), f"{NOT_OURS}the peer sent a presentation context"),
        (pdu(2, bytes(68), b"\x10"), f"{NOT_OURS}the peer sent an association PDU that ends within an item"),
        (struct.pack(">BBI", 2, 0, 1 << 30), f"{NOT_OURS}the peer sent a PDU that is longer than negotiated"),
        (pdu(3, b"\0"), f"{NOT_OURS}the peer rejected the association with a PDU that is too short"),
        (pdu(4, b""), f"{NOT_OURS}the peer sent another PDU"),
        (pdu(6, bytes(4)), f"{NOT_OURS}the peer sent another PDU"),
        (pdu(7, bytes(4)), "aborts the association instead of answering the request"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "something that is not DICOM"),
    ],
)
def test_an_abort_here_is_not_reported_as_one_of_the_node(raw: bytes, words: str) -> None:
    with accepting(raw) as node, pytest.raises(NodeError) as error:
        echo(node)
    assert words in str(error.value)
