"""The refusals of `listen` and their log, its checks at the start, and the limits of one address."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyconquest_rules.network import wire as dimse
from pyconquest_rules.network.wire import Wire
from tests.conftest import Workplace
from tests.execute.listeners import listening, output
from tests.network.listeners import Listen, listen
from tests.network.raw import ENCAPSULATED, UNDEFINED, data_set, element
from tests.peers.storage_scu import CT, EXPLICIT, IMPLICIT, JPEG_BASELINE, MR, VERIFICATION, Peer
from tests.waiting import until

__all__ = ["listen"]

SECRET = "SECRET^PATIENT"
RULES = """
[sources.archive]
path = "archive"
layout = "{{ PatientID }}/{{ SOPInstanceUID }}.dcm"

[listen.inbox]
ae_title = "RULES"
port = 0
into = "archive"
"""


@pytest.fixture
def inbox(workplace: Workplace) -> Workplace:
    (workplace.folder / "archive").mkdir()
    return workplace.rules(RULES)


def invalid_uid(peer: Peer) -> None:
    peer.associated().store(f"1.2.{SECRET}", data_set("1.2.3", patient=SECRET))


def another_class(peer: Peer) -> None:
    peer.associated().store("1.2.3", data_set("1.2.3", patient=SECRET, sop_class=MR))


def another_instance(peer: Peer) -> None:
    peer.associated().store("1.2.3", data_set("1.2.4", patient=SECRET))


def nonsense(peer: Peer) -> None:
    peer.associated().store("1.2.3", SECRET.encode())


def no_path(peer: Peer) -> None:
    peer.associated().store("1.2.3", data_set("1.2.3", patient=""))


def other_content(peer: Peer) -> None:
    peer.associated().store("1.2.3", data_set("1.2.3", patient=SECRET))
    peer.store("1.2.3", data_set("1.2.3", patient=SECRET, text="other"))


def no_data_set(peer: Peer) -> None:
    peer.associated().command(dimse.C_STORE_RQ, "1.2.3", data_set=False)
    peer.status()


@pytest.mark.parametrize(
    ("fault", "uid", "status", "reason"),
    [
        (invalid_uid, "", 0x0117, "invalid SOP instance"),
        (another_class, "1.2.3", 0xA900, "the data set has another SOP class than the request"),
        (another_instance, "1.2.3", 0xC000, "the data set has another SOPInstanceUID than the request"),
        (nonsense, "1.2.3", 0xC000, "the data set cannot be read: malformed"),
        (no_path, "1.2.3", 0x0110, "its values give no valid path: PatientID has no value"),
        (other_content, "1.2.3", 0x0111, 'another data set of this instance exists (on_conflict = "refuse")'),
        (no_data_set, "1.2.3", 0xC000, "cannot understand"),
    ],
)
def test_each_instance_that_is_refused_is_logged(
    fault: Callable[[Peer], None], uid: str, status: int, reason: str, inbox: Workplace
) -> None:
    with listening(inbox) as (port, process):
        fault(Peer(port))
        process.terminate()
        lines = [*map(json.loads, output(process))]
    (line,) = [line for line in lines if line["event"] == "instance_refused"]
    expected = {"SOPInstanceUID": uid, "status": status, "calling_ae_title": "CLINIC", "address": "127.0.0.1"}
    assert expected.items() <= line.items()
    assert line["reason"].startswith(reason.removesuffix("malformed"))
    assert line["time"][:2] == "20"
    assert SECRET not in json.dumps(lines)
    assert lines[-1]["refused"] == 1


FRAGMENTS = element(0x7FE00010, "OB", ENCAPSULATED[:-8], length=UNDEFINED)
BARE = data_set("1.2.3", pixels=None)
ODD = {
    "no delimiter": (JPEG_BASELINE, BARE + FRAGMENTS, "missing-delimiter"),
    "NULs for a delimiter": (JPEG_BASELINE, BARE + FRAGMENTS + bytes(8), "missing-delimiter"),
    "two NULs for a delimiter": (JPEG_BASELINE, BARE + FRAGMENTS + bytes(2), "missing-delimiter"),
    "stray bytes": (EXPLICIT, BARE + b"\xff" * 6, "trailing-bytes"),
    "an unknown VR": (EXPLICIT, BARE + element(0x00321030, "ZZ", "abcd"), "unknown-vr"),
    "no VR": (EXPLICIT, BARE + element(0x00321030, "", "abcd", "implicit"), "unknown-vr"),
    "both": (EXPLICIT, BARE + element(0x00321030, "??", "abcd") + b"\xff" * 6, "trailing-bytes,unknown-vr"),
}


@pytest.mark.parametrize(("syntax", "data", "note"), ODD.values(), ids=ODD)
def test_notes_of_the_index_are_logged(syntax: str, data: bytes, note: str, inbox: Workplace) -> None:
    with listening(inbox) as (port, process):
        peer = Peer(port)
        peer.request(contexts=[(VERIFICATION, [IMPLICIT]), (CT, [syntax])])
        assert peer.store("1.2.3", data) == 0
        line = json.loads(output(process).readline())
    assert (line["event"], line["note"]) == ("instance_noted", f"indexed with a note: {note}")
    noted = [json.loads(text) for text in inbox.run("query", "select reason from rules_files", "--json").out.splitlines()]
    assert noted[0]["values"] == {"reason": note}


def test_a_data_set_without_a_sop_class_is_refused_with_that_reason(inbox: Workplace) -> None:
    with listening(inbox) as (port, process):
        assert Peer(port).associated().store("1.2.3", data_set("1.2.3", sop_class="")) == 0xA900
        assert json.loads(output(process).readline())["reason"] == "the data set has no SOP class"


def called_otherwise(peer: Peer) -> None:
    peer.request(called="OTHER")


def a_stranger(peer: Peer) -> None:
    peer.request(calling="STRANGER")


def a_class_that_is_not_stored(peer: Peer) -> None:
    peer.request(contexts=[(CT, [EXPLICIT]), ("1.2.840.10008.5.1.4.1.2.1.1", [IMPLICIT])])


def no_dicom(peer: Peer) -> None:
    peer.wire.write(b"GET / HTTP/1.1\r\n\r\n")
    assert peer.is_cut_off()


def a_fragment_of_no_context(peer: Peer) -> None:
    peer.associated().wire.write(dimse.p_data(77, 3, b"abcd") + b"abcd")
    assert peer.is_cut_off()


@pytest.mark.parametrize(
    ("fault", "what", "calling", "reason"),
    [
        (called_otherwise, "association", "CLINIC", "called AE title not recognized"),
        (a_stranger, "association", "STRANGER", "calling AE title not recognized"),
        (a_class_that_is_not_stored, "context", "CLINIC", "not accepted: 1.2.840.10008.5.1.4.1.2.1.1"),
        (no_dicom, "abort", "", "the peer sent something that is not a PDU"),
        (a_fragment_of_no_context, "abort", "CLINIC", "the peer used a presentation context that was not accepted"),
    ],
)
def test_each_refusal_of_a_peer_is_logged(
    fault: Callable[[Peer], None], what: str, calling: str, reason: str, inbox: Workplace
) -> None:
    inbox.rules(f'{RULES}allow = ["CLINIC"]\n')
    with listening(inbox) as (port, process):
        fault(Peer(port))
        line = json.loads(output(process).readline())
    assert line["event"] == "peer_refused"
    assert (line["what"], line["calling_ae_title"], line["address"], line["reason"]) == (what, calling, "127.0.0.1", reason)


def test_the_console_shows_lines_with_the_time(inbox: Workplace) -> None:
    inbox.rules(RULES.replace("port = 0", f"port = {(port := free())}"))
    command = [sys.executable, "-m", "pyconquest_rules", "listen"]
    with subprocess.Popen(command, cwd=inbox.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        assert "listens as RULES" in process.stderr.readline()
        another_class(Peer(port))
        data = data_set("1.2.5", "implicit", patient=SECRET)
        assert Peer(port).associated().store("1.2.5", data) == 0
        Peer(port).request(called="OTHER")
        lines = [process.stderr.readline() for _ in range(3)]
        process.terminate()
    assert "refused 1.2.3 from CLINIC at 127.0.0.1: the data set has another SOP class than the request (A900)" in lines[0]
    assert "kept 1.2.5 from CLINIC at 127.0.0.1: stored as 1.2.840.10008.1.2, its real encoding" in lines[1]
    assert "refused an association of CLINIC at 127.0.0.1: called AE title not recognized" in lines[2]
    assert SECRET not in "".join(lines)


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Checks at the start.


def source_is_a_file(folder: Path) -> str:
    (folder / "archive").rmdir()
    (folder / "archive").touch()
    return 'cannot write to the source "archive": '


def incoming_is_a_file(folder: Path) -> str:
    (folder / "archive/.pyconquest-rules-incoming").touch()
    return 'cannot write to the source "archive"'


def index_is_a_folder(folder: Path) -> str:
    (folder / "conquest.db").mkdir()
    return "cannot open the index"


def index_is_something_else(folder: Path) -> str:
    (folder / "conquest.db").write_bytes(b"notes" * 100)
    return "it is not a database; name another file as [index] database"


def too_little_room(folder: Path) -> str:
    with (folder / "rules.toml").open("a") as rules:
        rules.write("min_free = 1_000_000_000_000_000_000\n")
    return "and min_free keeps 1,000,000,000,000,000,000; make room, or lower min_free"


def no_certificate(folder: Path) -> str:
    with (folder / "rules.toml").open("a") as rules:
        rules.write('tls = { certificate = "us.pem", key = "us.key" }\n')
    return "us.pem, its key or its ca cannot be used"


def no_layout(folder: Path) -> str:
    text = (folder / "rules.toml").read_text()
    (folder / "rules.toml").write_text(text.replace("layout = ", "# "))
    return "layout"


def no_address(folder: Path) -> str:
    with (folder / "rules.toml").open("a") as rules:
        rules.write('host = "192.0.2.1"\n')
    return "cannot listen on 192.0.2.1"


@pytest.mark.parametrize(
    "fault",
    [
        source_is_a_file,
        incoming_is_a_file,
        index_is_a_folder,
        index_is_something_else,
        too_little_room,
        no_certificate,
        no_layout,
        no_address,
    ],
)
def test_faults_are_reported_at_the_start(fault: Callable[[Path], str], inbox: Workplace) -> None:
    expected = fault(inbox.folder)
    done = inbox.run("listen")
    assert done.code in (1, 2)
    assert expected in done.err
    assert "Traceback" not in done.err


# Accepted SOP classes and transfer syntaxes.


PRIVATE, RETIRED, LATER = "1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.9999"


@pytest.mark.parametrize(
    ("context", "any_", "standard"),
    [
        ((CT, [EXPLICIT]), EXPLICIT, EXPLICIT),
        ((RETIRED, [EXPLICIT]), EXPLICIT, EXPLICIT),
        ((PRIVATE, [EXPLICIT]), EXPLICIT, None),
        ((LATER, [IMPLICIT]), IMPLICIT, None),
        ((CT, ["1.2.3.4"]), "1.2.3.4", None),
        ((PRIVATE, ["1.2.3.4"]), "1.2.3.4", None),
        ((CT, ["1.2.3.4", JPEG_BASELINE]), JPEG_BASELINE, JPEG_BASELINE),
        ((VERIFICATION, ["1.2.3.4"]), None, None),
        (("1.2.840.10008.5.1.4.1.2.1.1", [IMPLICIT]), None, None),  # Query/Retrieve
        (("1.2.840.10008.1.3.10", [EXPLICIT]), None, None),  # DICOMDIR
        (("not a UID", [EXPLICIT]), None, None),
        ((CT, ["not a UID"]), None, None),
    ],
)
def test_private_and_retired_classes_and_private_syntaxes(
    context: tuple[str, list[str]], any_: str | None, standard: str | None, listen: Listen
) -> None:
    for private, expected in ((True, any_), (False, standard)):
        _, data = Peer(listen(private=private).port).request(contexts=[context])
        at = data.index(b"\x21\0")  # the presentation context of the answer
        result, length = data[at + 6], int.from_bytes(data[at + 10 : at + 12], "big")
        syntax = data[at + 12 : at + 12 + length].decode()
        assert (syntax if result == 0 else None) == expected


@pytest.mark.parametrize("accept", ["any", "standard"])
def test_accept_decides_about_private_classes(accept: str, inbox: Workplace) -> None:
    inbox.rules(f'{RULES}accept = "{accept}"\n')
    with listening(inbox) as (port, _):
        peer = Peer(port)
        peer.request(contexts=[(VERIFICATION, [IMPLICIT]), (PRIVATE, ["1.2.3.4"])])
        if accept == "any":
            assert peer.store("1.2.9", data_set("1.2.9", sop_class=PRIVATE), sop_class=PRIVATE) == 0
            assert peer.store("1.2.10", data_set("1.2.10", "implicit", sop_class=PRIVATE), sop_class=PRIVATE) == 0xC000
        else:
            peer.command(dimse.C_STORE_RQ, "1.2.9", sop_class=PRIVATE)
            assert peer.is_cut_off()
    names = {name for name in inbox.files("archive") if name.endswith(".dcm")}
    assert names == ({"P1/1.2.9.dcm"} if accept == "any" else set())


# Limits of one address.


def from_address(address: str, port: int) -> Peer:
    peer = object.__new__(Peer)
    connection = socket.create_connection(("127.0.0.1", port), source_address=(address, 0))
    peer.wire, peer.message_id = Wire(connection, longest=1 << 20, seconds=30), 0
    return peer


OTHERS = [f"127.0.0.{number}" for number in range(2, 7)]


@pytest.mark.parametrize("other", OTHERS)
def test_waiting_connections_of_one_address_take_half_of_the_places_at_most(other: str, listen: Listen) -> None:
    listener = listen(max_associations=2)
    idle = [Peer(listener.port) for _ in range(60)]
    assert from_address(other, listener.port).associated().echo() == 0
    assert sum(is_open(peer) for peer in idle) == 51
    for peer in idle:
        peer.wire.close()


def is_open(peer: Peer) -> bool:
    peer.wire.connection.settimeout(0.05)
    try:
        return peer.wire.connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


@pytest.mark.parametrize("places", [1, 2, 5, 8, 25])
def test_idle_associations_make_room_for_another_address(places: int, listen: Listen) -> None:
    listener = listen(max_associations=places)
    idle = [Peer(listener.port).associated() for _ in range(places)]
    assert Peer(listener.port).request()[0] == 3  # the same address: rejected as before
    others = [from_address(address, listener.port) for address in OTHERS[: (places + 1) // 2]]
    for other in others:
        assert other.associated().echo() == 0
    assert sum(is_open(peer) for peer in idle) == places - len(others)
    assert listener.health().associations == places


def test_busy_associations_keep_their_places(listen: Listen) -> None:
    listener = listen(max_associations=2)
    busy = [Peer(listener.port).associated() for _ in range(2)]
    for number, peer in enumerate(busy):
        peer.command(dimse.C_STORE_RQ, f"1.2.{number}")
        peer.data(b"half", last=False)
    other = from_address("127.0.0.2", listener.port)
    kind, data = other.request()
    assert (kind, tuple(data[1:])) == (3, (2, 3, 2))
    assert all(map(is_open, busy))
    until(lambda: listener.health().rejected == 1)
