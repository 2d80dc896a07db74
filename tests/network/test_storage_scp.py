"""The listener with DCMTK's echoscu and storescu, and with hostile peers."""

import errno
import multiprocessing
import os
import random
import shutil
import signal
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC

from pyconquest_rules.network import wire as dimse
from pyconquest_rules.network.server import ListenError, ServerTLS
from pyconquest_rules.network.statuses import Status
from pyconquest_rules.network.storage_scp import Health, Listener, Listening
from pyconquest_rules.network.wire import Lost
from tests.conftest import Instance, needs
from tests.data_sets import data_set
from tests.network.folder import Folder, FolderPart
from tests.network.listeners import Listen
from tests.peers.storage_scu import (
    CT,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    MR,
    ON_CT,
    ON_VERIFICATION,
    VERIFICATION,
    Peer,
    dcmtk,
    small,
)
from tests.waiting import until


def kept(folder: Path) -> dict[str, bytes]:
    """The data sets in a folder, by the names of their files."""
    return {file.name: data_set(file) for file in folder.iterdir()}


# Rejections.


def test_echoscu_succeeds_and_wrong_ae_titles_are_rejected(listen: Listen) -> None:
    listener = listen(allow=("CLINIC",))
    here = ("127.0.0.1", str(listener.port))
    assert dcmtk("echoscu", "-aet", "CLINIC", "-aec", "RULES", *here).returncode == 0
    assert "Called AE Title Not Recognized" in dcmtk("echoscu", "-aet", "CLINIC", "-aec", "OTHER", *here).stderr
    assert "Calling AE Title Not Recognized" in dcmtk("echoscu", "-aet", "STRANGER", "-aec", "RULES", *here).stderr
    until(lambda: listener.health() == Health(rejected=2))  # the peer gets the rejection before it is counted


def test_a_connection_from_a_forbidden_address_is_closed(listen: Listen) -> None:
    assert Peer(listen(addresses=("127.0.0.0/8",)).port).associated().echo() == 0
    assert Peer(listen(addresses=("192.0.2.1", "2001:db8::/32")).port).is_cut_off()


def test_too_many_associations_are_rejected(listen: Listen) -> None:
    listener = listen(max_associations=1)
    silent, first = Peer(listener.port), Peer(listener.port).associated()  # a connection without an association takes no place
    kind, data = Peer(listener.port).request()
    assert (kind, tuple(data[1:])) == (3, (2, 3, 2))  # transient, provider (presentation), local limit exceeded
    first.wire.release(30)
    until(lambda: listener.health().associations == 0)
    assert silent.request()[0] == 2


def test_a_port_in_use_is_an_error(listen: Listen, tmp_path: Path) -> None:
    port = listen().port
    with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
        Listener(Listening("RULES", port=port), Folder(tmp_path)).start()


def test_accepts_the_first_known_transfer_syntax_and_private_ones_if_set(listen: Listen) -> None:
    contexts = [
        (CT, ["1.2.3.4", JPEG_BASELINE, IMPLICIT]),
        (CT, [IMPLICIT, JPEG_BASELINE]),
        (CT, ["1.2.3.4"]),
        ("1.3.12.2.1107.5.9.1", [IMPLICIT]),
    ]
    kind, data = Peer(listen(private=False).port).request(contexts=contexts)
    answer = A_ASSOCIATE_AC()
    answer.decode(struct.pack(">BxI", kind, len(data)) + data)
    told = {
        c.context_id: (c.result, c.transfer_syntax[0]) for c in answer.to_primitive().presentation_context_definition_results_list
    }
    assert [told[1], told[3], told[5][0], told[7][0]] == [(0, JPEG_BASELINE), (0, IMPLICIT), 4, 3]
    assert answer.user_information is not None
    assert answer.user_information.maximum_length == 131072


# Storage.


@pytest.mark.parametrize(
    ("proposal", "file"),
    [
        ("-xy", "pydicom/SC_rgb_dcmtk_+eb+cy+n1.dcm"),  # JPEG Baseline
        ("-xx", "pydicom/JPGExtended.dcm"),
        ("-xs", "pydicom/SC_rgb_jpeg_gdcm.dcm"),  # JPEG Lossless
        ("-xt", "pydicom-data/JLSL_16_15_1_1F.dcm"),  # JPEG-LS
        ("-xv", "dicom2nifti/generic/rgb/001/IM-0001-0001-0001.dcm"),  # JPEG 2000 Lossless
        ("-xw", "pydicom/JPEG2000.dcm"),
        ("-xr", "pydicom/SC_rgb_rle_2frame.dcm"),
        ("-xr", "pydicom/MR_small_RLE.dcm"),
        ("-xd", "pydicom/image_dfl.dcm"),  # deflated
        ("-xb", "pydicom/MR_small_bigendian.dcm"),
        ("-xi", "pydicom/rtdose_1frame.dcm"),
        ("-xe", "pydicom/CT_small.dcm"),
    ],
)
def test_stores_the_data_sets_of_storescu_unchanged(
    proposal: str, file: str, listen: Listen, shared: Path, tmp_path: Path
) -> None:
    # dcmconv writes group lengths, lengths of sequences and padding as storescu sends them.
    sent = tmp_path / "sent.dcm"
    assert dcmtk("dcmconv", "--padding-off", shared / "corpus" / file, sent).returncode == 0
    listener = listen()
    result = dcmtk("storescu", proposal, "-R", "-aec", "RULES", "127.0.0.1", str(listener.port), sent)
    assert result.returncode == 0, result.stderr
    (arrived,) = (tmp_path / "in").iterdir()
    expected = data_set(sent)
    assert data_set(arrived) == expected + bytes(len(expected) % 2)  # a deflated data set is padded to an even length (PS3.5 A.5)
    assert listener.health().received == 1
    assert dcmtk("dcmftest", arrived).returncode == 0


def test_the_file_meta_information_has_transfer_syntax_and_sender(listen: Listen, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    assert Peer(listen().port).associated().store("1.2.3.4") == 0
    meta = pydicom.dcmread(tmp_path / "in" / "1.2.3.4.dcm").file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == (CT, "1.2.3.4", EXPLICIT)
    assert (meta.SourceApplicationEntityTitle, meta.ImplementationVersionName) == ("CLINIC", "PYCONQUEST_RULES")


def test_a_data_set_in_fragments_of_any_size(listen: Listen, tmp_path: Path) -> None:
    data = small("1.2.3", more=random.Random(5).randbytes(70000))
    peer = Peer(listen().port).associated()
    for number, size in enumerate((7, 1000, 65536, 131066)):
        peer.command(dimse.C_STORE_RQ, "1.2.3")
        peer.data(data, size=size)
        assert peer.status() == 0, number
    assert kept(tmp_path / "in") == {"1.2.3.dcm": data}


def test_a_duplicate_succeeds_and_another_data_set_is_refused(listen: Listen, tmp_path: Path) -> None:
    listener = listen()
    one, other = small("1.2.3", more=b"one!"), small("1.2.3", more=b"two!")
    peer = Peer(listener.port).associated()
    assert [peer.store("1.2.3", data) for data in (one, one, other, one)] == [0, 0, Status.DUPLICATE_SOP_INSTANCE, 0]
    assert kept(tmp_path / "in") == {"1.2.3.dcm": one}
    assert listener.health() == Health(associations=1, received=3, duplicates=2, refused=1, bytes=3 * len(one))


# Refusals that do not end the association.


@pytest.mark.parametrize(
    ("status", "uid", "context_id", "sop_class", "data"),
    [
        (Status.INVALID_SOP_INSTANCE, "../../1", ON_CT, CT, b"any"),
        (Status.INVALID_SOP_INSTANCE, "1." * 32 + "1", ON_CT, CT, b"any"),
        (Status.INVALID_SOP_INSTANCE, "", ON_CT, CT, b"any"),
        (Status.SOP_CLASS_NOT_SUPPORTED, "1.2.3", ON_CT, MR, b"any"),
        (Status.SOP_CLASS_NOT_SUPPORTED, "1.2.3", ON_VERIFICATION, VERIFICATION, b"any"),
        (Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "1.2.3", ON_CT, CT, small("1.2.3", MR)),
        (Status.CANNOT_UNDERSTAND, "1.2.3", ON_CT, CT, small("1.2.4")),
        (Status.CANNOT_UNDERSTAND, "1.2.3", ON_CT, CT, b"this is no data set"),
    ],
)
def test_invalid_instances_are_refused(
    status: Status, uid: str, context_id: int, sop_class: str, data: bytes, listen: Listen, tmp_path: Path
) -> None:
    peer = Peer(listen().port).associated()
    assert peer.store(uid, data, context_id, sop_class) == status
    assert peer.store("1.2.9") == 0
    assert list(kept(tmp_path / "in")) == ["1.2.9.dcm"]


def test_a_request_without_a_data_set_and_an_unknown_operation(listen: Listen) -> None:
    peer = Peer(listen().port).associated()
    peer.command(dimse.C_STORE_RQ, "1.2.3", data_set=False)
    assert peer.status() == Status.CANNOT_UNDERSTAND
    peer.command(0x0020)  # C-FIND-RQ
    peer.data(b"a query")
    assert peer.status() == Status.UNRECOGNIZED_OPERATION
    assert peer.echo() == 0


class Failing(Folder):
    """A folder that fails once, in an instance or at its end."""

    def __init__(self, root: Path, error: Exception, *, at_end: bool) -> None:
        super().__init__(root)
        self.error: Exception | None = error
        self.at_end = at_end

    @contextmanager
    def part(self, sop_class: str, sop_instance: str, transfer_syntax: str, calling_ae_title: str) -> Iterator[FolderPart]:
        with super().part(sop_class, sop_instance, transfer_syntax, calling_ae_title) as part:
            error, self.error = self.error, None
            if error is not None:

                def fail(*_: object) -> int:
                    raise error

                setattr(part, "finish" if self.at_end else "write", fail)
            yield part


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOSPC, "full"), Status.OUT_OF_RESOURCES),
        (OSError(errno.EIO, "broken"), Status.PROCESSING_FAILURE),
        (ValueError("a mistake"), Status.PROCESSING_FAILURE),
    ],
)
def test_a_failure_to_store_does_not_end_the_association(
    error: Exception, status: Status, at_end: bool, listen: Listen, tmp_path: Path
) -> None:
    peer = Peer(listen(Failing(tmp_path / "in", error, at_end=at_end)).port).associated()
    data = small("1.2.3", more=bytes(1_000_000))
    assert [peer.store("1.2.3", data), peer.store("1.2.3", data)] == [status, 0]
    assert kept(tmp_path / "in") == {"1.2.3.dcm": data}


def test_min_free(listen: Listen, tmp_path: Path) -> None:
    peer = Peer(listen(min_free=1 << 60).port).associated()
    assert [peer.store("1.2.3"), peer.echo()] == [Status.OUT_OF_RESOURCES, 0]
    assert kept(tmp_path / "in") == {}


# Hostile and broken peers.


def memory() -> int:
    """The resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_stalled_peers_delay_no_other_peer(listen: Listen) -> None:
    listener, before = listen(), memory()
    stalled = [Peer(listener.port).associated() for _ in range(10)]
    for peer in stalled:
        peer.command(dimse.C_STORE_RQ, "1.2.3")
        peer.wire.write(struct.pack(">BxI", dimse.P_DATA, 131072), bytes(100000))
    good = Peer(listener.port).associated()
    assert good.store("1.2.4") == 0
    assert listener.health().associations == 11  # all associations are still open
    assert memory() - before < 64 << 20


def test_a_pdu_has_a_deadline(listen: Listen, tmp_path: Path) -> None:
    listener = listen(pdu_timeout=0.1)
    peer = Peer(listener.port).associated()
    peer.command(dimse.C_STORE_RQ, "1.2.3")
    peer.wire.write(struct.pack(">BxI", dimse.P_DATA, 1000), bytes(10))
    assert peer.is_cut_off()
    assert kept(tmp_path / "in") == {}


def test_a_silent_peer_is_aborted(listen: Listen) -> None:
    listener = listen(association_timeout=0.1)
    assert Peer(listener.port).is_cut_off()
    assert Peer(listener.port).associated().is_cut_off()


@pytest.mark.parametrize("associated", [False, True])
def test_a_pdu_length_of_4_gb_is_aborted_at_once(associated: bool, listen: Listen) -> None:
    listener, before = listen(pdu_timeout=1000, association_timeout=1000), memory()
    peer = Peer(listener.port)
    if associated:
        peer.associated()
    peer.wire.write(struct.pack(">BxI", dimse.P_DATA, 0xFFFFFFFF), bytes(100))
    assert peer.is_cut_off()
    assert memory() - before < 64 << 20


def test_a_message_beyond_the_limit_is_aborted_and_leaves_no_file(listen: Listen, tmp_path: Path) -> None:
    peer = Peer(listen(max_message=1_000_000).port).associated()
    assert peer.store("1.2.3", small("1.2.3", more=bytes(900_000))) == 0
    peer.command(dimse.C_STORE_RQ, "1.2.4")
    peer.data(bytes(1_000_001), last=False)
    assert peer.is_cut_off()
    assert list(kept(tmp_path / "in")) == ["1.2.3.dcm"]


HOSTILE = [
    b"GET / HTTP/1.1\r\n\r\n",
    struct.pack(">BxI", 1, 4) + b"\0\1\0\0",  # an association request of four bytes
    struct.pack(">BxI", 1, 100) + b"\0\1" + bytes(66) + struct.pack(">BxH", 0x50, 0xFFFF) + bytes(28),  # an item beyond the PDU
    struct.pack(">BxI", 4, 4) + bytes(4),  # a fragment without a head
    struct.pack(">BxI", 4, 6) + struct.pack(">IBB", 0, 3, 3),  # one that is too short
    struct.pack(">BxI", 4, 6) + struct.pack(">IBB", 1 << 31, 3, 3),  # one that is longer than its PDU
    struct.pack(">BxI", 4, 6) + struct.pack(">IBB", 2, 99, 3),  # one of no context
    struct.pack(">BxI", 4, 6) + struct.pack(">IBB", 2, 3, 2),  # data before a command
    struct.pack(">BxI", 4, 6) + struct.pack(">IBB", 2, 3, 3),  # a command without an element
    struct.pack(">BxI", 4, 14) + struct.pack(">IBB", 10, 3, 3) + struct.pack("<HHI", 0, 0x100, 1 << 31),
    dimse.message(
        3, dimse.command_set({dimse.COMMAND_FIELD: dimse.C_STORE_RSP, dimse.DATA_SET_TYPE: 0x0101, dimse.STATUS: 0}), 0
    ),
    dimse.message(3, dimse.command_set({dimse.COMMAND_FIELD: 1, dimse.MESSAGE_ID: 1}), 0),
    dimse.message(1, dimse.command_set({dimse.COMMAND_FIELD: 0x30, dimse.DATA_SET_TYPE: 0x0101}), 0),  # no message ID
    dimse.message(3, bytes(1 << 20), 0)[: 1 << 16] * 3,
    *(random.Random(seed).randbytes(1000) for seed in range(5)),
]


@pytest.mark.parametrize("associated", [False, True])
@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_garbage_ends_only_its_own_connection(hostile: bytes, associated: bool, listen: Listen, tmp_path: Path) -> None:
    listener = listen(pdu_timeout=0.5, association_timeout=0.5)
    good, bad = Peer(listener.port).associated(), Peer(listener.port)
    if associated:
        bad.associated()
    bad.wire.write(hostile)
    assert bad.is_cut_off()
    assert good.echo() == 0 or Peer(listener.port).associated().echo() == 0
    assert kept(tmp_path / "in") == {}


# TLS.


def certificate(folder: Path, name: str) -> ServerTLS:
    """A certificate that signs itself, and its key."""
    needs("openssl", shutil.which("openssl") is not None)
    made = ServerTLS(folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}.crt")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run([*command, "-out", made.certificate, "-keyout", made.key], check=True, capture_output=True)
    return made


def test_tls_requires_a_known_certificate_and_silent_peers_delay_no_other(
    listen: Listen, instance: Instance, tmp_path: Path
) -> None:
    ours, theirs, other = (certificate(tmp_path, name) for name in ("ours", "theirs", "other"))
    listener = listen(tls=ServerTLS(ours.certificate, ours.key, theirs.certificate))
    silent = [Peer(listener.port) for _ in range(10)]
    half = Peer(listener.port)
    half.wire.write(b"\x16\x03\x01\x02\x00\x01\x00")
    here = ("-aec", "RULES", "+cf", ours.certificate, "127.0.0.1", str(listener.port))
    assert dcmtk("echoscu", "+tls", theirs.key, theirs.certificate, *here).returncode == 0
    sent = instance("sent.dcm", pixels=random.Random(1).randbytes(1_000_000))
    assert dcmtk("storescu", "-xe", "+tls", theirs.key, theirs.certificate, *here, sent).returncode == 0
    (arrived,) = (tmp_path / "in").iterdir()
    assert data_set(arrived) == data_set(sent)
    assert dcmtk("echoscu", "+tls", other.key, other.certificate, *here).returncode != 0
    assert dcmtk("echoscu", "+tla", *here).returncode != 0
    assert dcmtk("echoscu", "-aec", "RULES", "127.0.0.1", str(listener.port)).returncode != 0  # plain
    for peer in [*silent, half]:
        peer.wire.close()


def test_a_tls_handshake_has_a_deadline(listen: Listen, tmp_path: Path) -> None:
    assert Peer(listen(tls=certificate(tmp_path, "ours"), association_timeout=0.1).port).is_cut_off()


def test_an_invalid_certificate_is_an_error(listen: Listen, tmp_path: Path) -> None:
    (tmp_path / "none").write_text("none")
    with pytest.raises(ListenError, match="none, its key or its ca cannot be used"):
        listen(tls=ServerTLS(tmp_path / "none", tmp_path / "none"))


# Stop and kill.


def test_stop_waits_for_an_instance(listen: Listen, tmp_path: Path) -> None:
    listener = listen()
    idle, silent, busy = Peer(listener.port).associated(), Peer(listener.port), Peer(listener.port).associated()
    data = small("1.2.3", more=bytes(1_000_000))
    busy.command(dimse.C_STORE_RQ, "1.2.3")
    busy.data(data[:500_000], last=False)
    until(lambda: any((tmp_path / "in").iterdir()))  # the listener has begun to write it
    stopping = threading.Thread(target=listener.stop, args=(30,))
    stopping.start()
    assert idle.is_cut_off()
    assert silent.is_cut_off()
    busy.data(data[500_000:])
    assert busy.status() == 0
    assert busy.is_cut_off()
    stopping.join()
    assert kept(tmp_path / "in") == {"1.2.3.dcm": data}
    with pytest.raises(ConnectionRefusedError):
        Peer(listener.port)


def test_stop_without_grace_aborts_and_leaves_no_file(listen: Listen, tmp_path: Path) -> None:
    listener = listen()
    peer = Peer(listener.port).associated()
    peer.command(dimse.C_STORE_RQ, "1.2.3")
    peer.data(bytes(500_000), last=False)
    until(lambda: any((tmp_path / "in").iterdir()))
    listener.stop(0)
    assert peer.is_cut_off()
    assert kept(tmp_path / "in") == {}


def test_a_hundred_senders_at_once(listen: Listen, tmp_path: Path) -> None:
    listener = listen(max_associations=100)
    answers: list[int] = []

    def send(sender: int) -> None:
        peer = Peer(listener.port).associated()
        answers.extend(peer.store(f"1.2.{sender}.{number}") for number in range(20))
        peer.wire.release(30)

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(100)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert answers == [0] * 2000
    assert kept(tmp_path / "in") == {f"1.2.{s}.{n}.dcm": small(f"1.2.{s}.{n}") for s in range(100) for n in range(20)}
    assert listener.health().received == 2000


def serve(folder: Path, told: Connection) -> None:
    """Run a listener in its own process: print its port, and stay."""
    listener = Listener(Listening("RULES"), Folder(folder))
    listener.start()
    told.send(listener.port)
    threading.Event().wait()


def test_acknowledged_instances_survive_a_kill(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.network.test_storage_scp"])
    for answers in range(20):
        folder = tmp_path / str(answers)
        folder.mkdir()
        here, there = context.Pipe()
        listener = context.Process(target=serve, args=(folder, there), daemon=True)
        listener.start()
        peers = [Peer(port).associated() for port in [here.recv()] for _ in range(3)]
        answered: dict[str, bytes] = {}

        def send(sender: int, peer: Peer, answered: dict[str, bytes] = answered) -> None:
            for number in range(1000):
                uid = f"1.2.{sender}.{number}"
                data = small(uid, more=bytes(3000))
                try:
                    status = peer.store(uid, data)
                except Lost:
                    return
                assert status == 0
                answered[f"{uid}.dcm"] = data

        senders = [threading.Thread(target=send, args=each) for each in enumerate(peers)]
        for sender in senders:
            sender.start()
        until(lambda answered=answered, answers=answers: len(answered) >= answers)  # type: ignore[misc]
        listener.kill()
        for sender in senders:
            sender.join()
        listener.join()
        assert listener.exitcode == -signal.SIGKILL
        assert answers <= len(answered) < 3000, "the kill came after all instances were stored"
        assert answered.items() <= {file.name: data_set(file) for file in folder.glob("*.dcm")}.items()
