"""`[listen.NAME]` under stress: a hundred callers, kills, hostile callers, and callers without a valid certificate."""

import multiprocessing
import os
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pydicom
import pytest

from pyconquest_rules import app
from pyconquest_rules.events import Event, Listens
from pyconquest_rules.intake import listening as _imported_for_the_fork_server  # noqa: F401
from pyconquest_rules.network import wire as dimse
from pyconquest_rules.network.node import Node
from pyconquest_rules.network.outgoing import Instance as Sendable
from pyconquest_rules.network.wire import Lost
from tests.conftest import Instance, Workplace, needs
from tests.data_sets import data_set
from tests.execute.listeners import listening, next_line
from tests.peers.certificates import Authority
from tests.peers.storage_scu import Peer, dcmtk, send, small

RULES = """
[sources.archive]
path = "archive"
layout = "{{ SOPInstanceUID }}.dcm"

[listen.inbox]
ae_title = "RULES"
port = 0
into = "archive"
"""


@pytest.fixture
def inbox(workplace: Workplace) -> Workplace:
    (workplace.folder / "archive").mkdir()
    return workplace.rules(RULES)


def kept(inbox: Workplace) -> dict[str, bytes]:
    """Return the stored data sets, by file name."""
    return {file.name: data_set(file) for file in (inbox.folder / "archive").glob("*.dcm")}


def indexed(inbox: Workplace) -> set[str]:
    """Return the SOPInstanceUIDs of the index."""
    with closing(sqlite3.connect(inbox.folder / "conquest.db")) as connection:
        return {uid for (uid,) in connection.execute("SELECT SOPInstanceUID FROM images")}


def test_a_hundred_senders_at_once(inbox: Workplace, instance: Instance, tmp_path: Path) -> None:
    inbox.rules(f"{RULES}max_associations = 100\n")
    uids = [[f"1.2.{sender}.{number}" for number in range(20)] for sender in range(100)]
    files = [[instance(f"{uid}.dcm", SOPInstanceUID=uid) for uid in some] for some in uids]

    def stored(sender: int, port: int) -> int:
        """Send one half with DCMTK's storescu, the other with our own SCU."""
        if sender % 2:
            done = dcmtk("storescu", "-q", "-R", "-aec", "RULES", "127.0.0.1", str(port), *files[sender])
            return len(files[sender]) if done.returncode == 0 else 0
        node = Node("inbox", "RULES", "127.0.0.1", port)
        batch = [Sendable(os.fsencode(file), uid) for file, uid in zip(files[sender], uids[sender], strict=True)]
        return sum(sent.status == 0 for _, sent in send(node, batch))

    with listening(inbox) as (port, process), ThreadPoolExecutor(100) as threads:
        assert list(threads.map(stored, range(100), [port] * 100)) == [20] * 100
        process.terminate()
        summary = next_line(process, "summary")
        assert process.wait(60) == 0
    assert (summary["received"], summary["duplicates"], summary["refused"], summary["rejected"]) == (2000, 0, 0, 0)
    assert kept(inbox) == {file.name: data_set(file) for some in files for file in some}
    index = inbox.run("index", "--json").summary
    assert (index["read"], index["unchanged"]) == (0, 2000)
    assert indexed(inbox) == {uid for some in uids for uid in some}


def serve(folder: Path, told: Connection) -> None:
    """Run `listen` in its own process: print its port, and stay."""

    def tell(event: Event) -> None:
        if isinstance(event, Listens):
            told.send(event.port)

    app.listen(app.Rules.load(folder / "rules.toml"), "inbox", emit=tell)


def test_acknowledged_instances_survive_a_kill(inbox: Workplace) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    answered: dict[str, bytes] = {}
    for round_ in range(20):
        here, there = context.Pipe()
        listener = context.Process(target=serve, args=(inbox.folder, there), daemon=True)
        listener.start()
        peers = [Peer(port).associated() for port in [here.recv()] for _ in range(3)]
        enough, before = threading.Event(), len(answered)

        def store(sender: int, peer: Peer, round_: int = round_, before: int = before, enough: threading.Event = enough) -> None:
            for number in range(1000):
                uid = f"1.2.{round_}.{sender}.{number}"
                data = small(uid, more=bytes(3000))
                try:
                    status = peer.store(uid, data)
                except Lost:
                    return
                assert status == 0
                answered[f"{uid}.dcm"] = data
                if len(answered) > before + round_:
                    enough.set()

        with ThreadPoolExecutor(3) as senders:
            sending = [senders.submit(store, *each) for each in enumerate(peers)]
            assert enough.wait(60)
            listener.kill()
        for each in sending:
            each.result()
        listener.join()
        there.close()
        assert listener.exitcode == -signal.SIGKILL
        assert before + round_ < len(answered) < before + 3000, "the kill came when all was stored"
        assert answered.items() <= kept(inbox).items()
        assert {name.removesuffix(".dcm") for name in answered} <= indexed(inbox)
    index = inbox.run("index", "--json").summary
    assert index["unchanged"] >= len(answered)
    assert index["vanished"] == index["rejected"] == 0


COMPRESSED = [
    "pydicom/SC_rgb_dcmtk_+eb+cy+n1.dcm",  # JPEG Baseline
    "pydicom/JPGExtended.dcm",
    "pydicom/SC_rgb_jpeg_gdcm.dcm",  # JPEG Lossless
    "pydicom-data/JLSL_16_15_1_1F.dcm",  # JPEG-LS
    "pydicom/JPEG2000.dcm",
    "pydicom/SC_rgb_rle_2frame.dcm",
    "pydicom/MR_small_RLE.dcm",
    "pydicom/image_dfl.dcm",  # deflated
]


def proposals(files: list[Path]) -> str:
    """Write a configuration of storescu, with a context for each SOP class and transfer syntax of these files."""
    metas = [pydicom.dcmread(file, stop_before_pixels=True).file_meta for file in files]
    pairs = sorted({(str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)) for meta in metas})
    syntaxes = "".join(f"[T{number}]\nTransferSyntax1 = {syntax}\n" for number, (_, syntax) in enumerate(pairs))
    contexts = "".join(f"PresentationContext{number + 1} = {of}\\T{number}\n" for number, (of, _) in enumerate(pairs))
    profile = "[[Profiles]]\n[All]\nPresentationContexts = Contexts\n"
    return f"[[TransferSyntaxes]]\n{syntaxes}[[PresentationContexts]]\n[Contexts]\n{contexts}{profile}"


def test_compressed_and_deflated_files_arrive_unchanged(inbox: Workplace, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    files = [tmp_path / "sent" / f"{number}.dcm" for number in range(len(COMPRESSED))]
    for name, file in zip(COMPRESSED, files, strict=True):
        # dcmconv writes group lengths, lengths of sequences and padding as storescu sends them.
        assert dcmtk("dcmconv", "--padding-off", shared / "corpus" / name, file).returncode == 0
        # Some files are the same instance in other transfer syntaxes.
        assert dcmtk("dcmodify", "--no-backup", "--gen-inst-uid", file).returncode == 0
    (tmp_path / "storescu.cfg").write_text(proposals(files))
    with listening(inbox) as (port, _):
        options = ("-xf", tmp_path / "storescu.cfg", "All", "-aec", "RULES", "+sd")
        done = dcmtk("storescu", *options, "127.0.0.1", str(port), tmp_path / "sent")
        assert done.returncode == 0, done.stderr
    for file in files:
        meta = pydicom.dcmread(file, stop_before_pixels=True).file_meta
        arrived = inbox.folder / "archive" / f"{meta.MediaStorageSOPInstanceUID}.dcm"
        expected = data_set(file)
        assert data_set(arrived) == expected + bytes(len(expected) % 2)  # padded if deflated (PS3.5 A.5)
        assert pydicom.dcmread(arrived, stop_before_pixels=True).file_meta.TransferSyntaxUID == meta.TransferSyntaxUID


# Hostile and broken callers.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that signs the certificates of both sides."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secured(inbox: Workplace, authority: Authority) -> Workplace:
    """A listener that requires certificates. Its files are relative to the folder of the rules."""
    certificate, key = authority.sign("us.example")
    for file, name in ((certificate, "us.pem"), (key, "us.key"), (authority.ca, "ca.pem")):
        shutil.copy(file, inbox.folder / name)
    return inbox.rules(f'{RULES}tls = {{ certificate = "us.pem", key = "us.key", ca = "ca.pem" }}\n')


def resident(process: "subprocess.Popen[str]") -> int:
    """The memory of a process, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def served(call: Callable[[], object]) -> None:
    """Call the listener, which must answer within two seconds, whatever other callers do."""
    begin = time.monotonic()
    assert call() == 0
    assert time.monotonic() - begin < 2


def test_stalled_callers_and_lengths_of_4_gb_cost_no_time_and_memory(inbox: Workplace) -> None:
    needs("/proc/self/status", Path("/proc/self/status").exists())
    with listening(inbox) as (port, process):
        assert Peer(port).associated().store("1.2.3") == 0
        before = resident(process)
        stalled = [Peer(port).associated() for _ in range(10)]
        for peer in stalled:
            peer.command(dimse.C_STORE_RQ, "1.2.4")
            peer.wire.write(struct.pack(">BxI", dimse.P_DATA, 131072), bytes(100_000))
        liars = [Peer(port), Peer(port).associated()]
        for peer in liars:
            peer.wire.write(struct.pack(">BxI", dimse.P_DATA, 0xFFFFFFFF), bytes(100_000))
        served(lambda: Peer(port).associated().store("1.2.5"))
        assert all(peer.is_cut_off() for peer in liars)
        assert resident(process) - before < 64 << 20
    assert set(kept(inbox)) == {"1.2.3.dcm", "1.2.5.dcm"}


def test_only_callers_with_the_right_certificate_are_accepted(
    secured: Workplace, authority: Authority, instance: Instance, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    sent = instance("sent.dcm", SOPInstanceUID="1.2.3")
    with listening(secured) as (port, process):
        silent = [Peer(port) for _ in range(10)]  # in the TLS handshake
        here = ("-q", "-R", "-aec", "RULES", "127.0.0.1", str(port), sent)

        def call(*options: str | Path) -> int:
            return dcmtk("storescu", *options, *here).returncode

        def by(certificate: Path, key: Path) -> int:
            return call("+tls", key, certificate, "+cf", authority.ca)

        served(lambda: by(*authority.sign("clinic.example")))
        assert call("+tla", "+cf", authority.ca) != 0  # no certificate
        assert by(*other.sign("clinic.example")) != 0  # signed by another CA
        assert by(*authority.sign("clinic.example", days=-1)) != 0  # expired
        assert call() != 0  # no TLS
        served(lambda: by(*authority.sign("clinic.example")))
        for peer in silent:
            peer.wire.close()
        process.terminate()
        summary = next_line(process, "summary")
    assert (summary["received"], summary["duplicates"], summary["refused"]) == (2, 1, 0)


def test_without_ca_callers_need_no_certificate(secured: Workplace, authority: Authority, instance: Instance) -> None:
    secured.rules(f'{RULES}tls = {{ certificate = "us.pem", key = "us.key" }}\n')
    with listening(secured) as (port, _):
        here = ("-q", "-R", "-aec", "RULES", "127.0.0.1", str(port), instance("sent.dcm"))
        assert dcmtk("storescu", "+tla", "+cf", authority.ca, *here).returncode == 0
        assert dcmtk("storescu", *here).returncode != 0


def test_a_handshake_and_a_pdu_have_deadlines(secured: Workplace) -> None:
    tls = (secured.folder / "rules.toml").read_text().removeprefix("rules_version = 1\n")
    secured.rules(f"{tls}association_timeout = 0.5\n")
    with listening(secured) as (port, _), closing(socket.create_connection(("127.0.0.1", port))) as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        assert Peer(port).is_cut_off()
        half.settimeout(30)
        with suppress(ConnectionResetError):
            assert half.recv(1) == b""
    secured.rules(f"{RULES}pdu_timeout = 0.5\n")
    with listening(secured) as (port, _):
        peer = Peer(port).associated()
        peer.command(dimse.C_STORE_RQ, "1.2.4")
        peer.wire.write(struct.pack(">BxI", dimse.P_DATA, 1000), bytes(10))
        assert peer.is_cut_off()


def test_limits_of_a_pdu_and_of_a_data_set(inbox: Workplace) -> None:
    inbox.rules(f"{RULES}max_pdu = 8192\nmax_message = 100_000\n")
    with listening(inbox) as (port, _):
        peer = Peer(port).associated()
        peer.command(dimse.C_STORE_RQ, "1.2.3")
        peer.data(small("1.2.3", more=bytes(9000)), size=9000)
        assert peer.is_cut_off()
        peer = Peer(port).associated()
        peer.command(dimse.C_STORE_RQ, "1.2.4")
        with suppress(Lost):
            peer.data(bytes(100_001), last=False, size=8000)
        assert peer.is_cut_off()
    assert kept(inbox) == {}


def test_an_unusable_certificate_is_an_error(secured: Workplace) -> None:
    (secured.folder / "us.pem").write_text("none")
    done = secured.run("listen")
    assert done.code == 1
    assert "us.pem, its key or its ca cannot be used" in done.err
