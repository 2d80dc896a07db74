"""Send: an instance that is reported as stored was stored unchanged, whatever the peer does."""

import csv
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from time import monotonic

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID

from pyconquest_rules.network.association import Context, ContextsRefused, echo, requested
from pyconquest_rules.network.node import TLS, Node, NodeError
from pyconquest_rules.network.outgoing import Instance
from pyconquest_rules.network.storage_scu import Sent
from tests.data_sets import data_set, even, received, values
from tests.peers.certificates import Certificates
from tests.peers.faulty import Fault, Faulty
from tests.peers.processes import HOST, dcmqrscp, free_port, orthanc, storescp
from tests.peers.storage_scu import send

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"

Write = Callable[..., Path]
Files = Callable[[int], list[Instance]]


def node(port: int, *, dimse_timeout: float = 30, acse_timeout: float = 30, tls: TLS | None = None) -> Node:
    return Node("archive", "ARCHIVE", HOST, port, dimse_timeout=dimse_timeout, acse_timeout=acse_timeout, tls=tls)


@pytest.fixture
def files(instance: Write) -> Files:
    """Write a number of CT instances of some kB each."""

    def made(count: int) -> list[Instance]:
        uids = [f"1.2.826.0.1.3680043.10.9.{number}" for number in range(count)]
        return [
            Instance(os.fsencode(instance(f"data/{uid}", SOPInstanceUID=uid, pixels=os.urandom(4000))), uid, CT, EXPLICIT)
            for uid in uids
        ]

    return made


def outcomes(told: Iterator[tuple[Instance, Sent]]) -> dict[str, Sent]:
    """Return all outcomes, or those before an error of the node."""
    found = dict[str, Sent]()
    with suppress(NodeError):
        for instance, sent in told:
            assert instance.SOPInstanceUID == sent.SOPInstanceUID not in found
            found[instance.SOPInstanceUID] = sent
    return found


def test_echo(tmp_path: Path) -> None:
    with storescp(tmp_path) as port:
        echo(node(port))


def test_data_sets_arrive_unchanged(tmp_path: Path, files: Files) -> None:
    sent = files(20)
    with storescp(tmp_path, "+B") as port:
        told = dict(send(node(port), sent))
    assert [(each.status, each.stored, each.message) for each in told.values()] == [(0, True, None)] * 20
    assert received(tmp_path) == {each.SOPInstanceUID: data_set(each.path) for each in sent}


@pytest.mark.parametrize("maximum_length", [0, 7, 8, 131, 16384, 131072, 300_001, 1 << 20])
def test_fragments_have_the_maximum_length_of_the_peer(files: Files, instance: Write, maximum_length: int) -> None:
    sent = files(3)
    if maximum_length == 0 or maximum_length > 8:
        path = instance("big", SOPInstanceUID="1.2.3", pixels=os.urandom(3 << 20 if maximum_length != 131 else 4000))
        sent.append(Instance(os.fsencode(path), "1.2.3"))
    with Faulty(maximum_length=maximum_length) as peer:
        assert all(told.stored for _, told in send(node(peer.port), sent))
    assert peer.stored == {each.SOPInstanceUID: data_set(each.path) for each in sent}


@pytest.fixture
def corpus(shared: Path) -> dict[str, Instance]:
    """One file of each instance of the good corpus."""
    root = shared / "corpus"
    with (root / "MANIFEST.tsv").open(encoding="utf-8") as manifest:
        rows = [row for row in csv.DictReader(manifest, delimiter="\t") if not row["bad"] and row["sop"]]
    return {row["sop"]: Instance(os.fsencode(root / row["path"]), row["sop"]) for row in rows}


def test_the_good_corpus_arrives_at_storescp(tmp_path: Path, corpus: dict[str, Instance]) -> None:
    with storescp(tmp_path, "+B", "+xa", "-pm") as port:
        told = outcomes(send(node(port), corpus.values()))
    assert len(told) == len(corpus)
    stored = {uid for uid, each in told.items() if each.stored}
    # storescp refuses palettes, HTJ2K and deflated images; one file has an odd length, one UID is invalid.
    assert Counter(each.message for each in told.values() if not each.stored) == {
        "the node refuses the SOP class in this transfer syntax": 12,
        "the data set has an odd number of bytes, which cannot be sent": 1,
        "the file has no valid SOP Instance UID": 1,
    }
    assert received(tmp_path) == {uid: even(corpus[uid].path) for uid in stored}


def test_the_good_corpus_arrives_at_orthanc(tmp_path: Path, corpus: dict[str, Instance]) -> None:
    with orthanc(tmp_path) as peer:
        told = outcomes(send(node(peer.port), corpus.values()))
    assert len(told) == len(corpus)
    stored = {uid for uid, each in told.items() if each.stored}
    kept = dict[str, Path]()
    for file in (tmp_path / "orthanc").rglob("*-*-*"):
        with suppress(pydicom.errors.InvalidDicomError):
            kept[pydicom.filereader.read_file_meta_info(file).MediaStorageSOPInstanceUID] = file
    assert kept.keys() == stored
    # Orthanc rewrites some data sets: the values are the same, the lengths of sequences and groups may differ.
    anew = [uid for uid in stored if data_set(kept[uid]) != even(corpus[uid].path)]
    assert [uid for uid in anew if values(kept[uid]) != values(Path(os.fsdecode(corpus[uid].path)))] == []


def test_dcmqrscp_stores_it(tmp_path: Path, files: Files) -> None:
    with dcmqrscp(tmp_path) as port:
        echo(node(port))
        assert all(told.stored for _, told in send(node(port), files(10)))


FAULTS: dict[Fault, tuple[bool, bool]] = {
    # stored, retry
    0xA700: (False, True),
    0xA900: (False, False),
    0xB000: (True, False),
    0xB006: (True, False),
    0xB007: (True, False),
    0xC000: (False, False),
    0x0122: (False, False),
    0x0110: (False, False),
    "wrong message ID": (False, True),
    "wrong instance": (False, True),
    "garbage": (False, True),
    "silence": (False, True),
    "half a PDU": (False, True),
    "abort": (False, True),
    "abort within": (False, True),
    "close": (False, True),
    "release": (False, True),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault if isinstance(fault, str) else f"{fault:04X}")
def test_no_fault_is_reported_as_stored(files: Files, fault: Fault) -> None:
    """The fault comes at the first, the middle or the last of 100 instances. The others are delivered."""
    sent, faulty = files(100), [0, 50, 99]
    stored, retry = FAULTS[fault]
    with Faulty(dict.fromkeys(faulty, fault)) as peer:
        told = outcomes(send(node(peer.port, dimse_timeout=2 if fault in {"silence", "half a PDU"} else 30), sent))
    assert len(told) == 100
    assert {each.SOPInstanceUID for each in sent if told[each.SOPInstanceUID].stored} == set(peer.stored)
    for number, each in enumerate(sent):
        outcome = told[each.SOPInstanceUID]
        assert (outcome.stored, outcome.retry) == ((stored, retry) if number in faulty else (True, False))
        assert (outcome.message is None) == (number not in faulty)
        assert outcome.status == (None if isinstance(fault, str) and number in faulty else fault if number in faulty else 0)
    assert all(peer.stored[each.SOPInstanceUID] == data_set(each.path) for each in sent if each.SOPInstanceUID in peer.stored)


@pytest.mark.parametrize("fault", ["silence", "abort", "garbage"])
def test_the_batch_ends_if_the_peer_stores_nothing(files: Files, fault: Fault) -> None:
    sent = files(10)
    with (
        Faulty(dict.fromkeys(range(100), fault)) as peer,
        pytest.raises(NodeError, match="3 associations in a row were lost") as raised,
    ):
        list(send(node(peer.port, dimse_timeout=0.3), sent))
    assert raised.value.retry
    assert peer.stored == {}


@pytest.mark.parametrize("options", [["--abort-after"], ["--abort-during"], ["--sleep-during", "1"]])
def test_storescp_that_aborts_or_sleeps(tmp_path: Path, files: Files, options: list[str]) -> None:
    with storescp(tmp_path, "+B", *options) as port:
        told = outcomes(send(node(port, dimse_timeout=0.3), files(2)))
    assert len(told) == 2
    assert not any(each.stored for each in told.values())
    assert all(each.retry for each in told.values())


@pytest.mark.parametrize(("option", "words", "retry"), [("--refuse", "rejects the association|aborts", None)])
def test_storescp_that_refuses(tmp_path: Path, files: Files, option: str, words: str, retry: bool | None) -> None:
    with storescp(tmp_path, option) as port, pytest.raises(NodeError, match=words):
        list(send(node(port), files(1)))
    assert list((tmp_path / "received").iterdir()) == []


def test_storescp_that_requires_an_implementation_class_accepts_ours(tmp_path: Path, files: Files) -> None:
    with storescp(tmp_path, "--reject") as port:
        assert all(told.stored for _, told in send(node(port), files(2)))


def test_a_bad_file_does_not_end_the_batch(tmp_path: Path, files: Files) -> None:
    good, gone, other, text, pipe, empty = files(6)
    os.unlink(gone.path)
    Path(os.fsdecode(other.path)).write_bytes(Path(os.fsdecode(good.path)).read_bytes())
    Path(os.fsdecode(text.path)).write_bytes(b"no DICOM at all" * 100)
    os.unlink(pipe.path)
    os.mkfifo(pipe.path)
    Path(os.fsdecode(empty.path)).write_bytes(Path(os.fsdecode(good.path)).read_bytes()[: -len(data_set(good.path))])
    changed = "the file changed: it is not the planned instance"
    with Faulty() as peer:
        told = dict(send(node(peer.port), [gone, other, text, pipe, empty, good]))
    assert {each: sent.message for each, sent in told.items()} == {
        gone: "the file is gone",
        other: changed,
        text: "not a DICOM file",
        pipe: "not a regular file",
        empty: "the file has no data set",
        good: None,
    }
    assert not any(sent.retry for sent in told.values())
    assert list(peer.stored) == [good.SOPInstanceUID]


def test_a_file_with_another_transfer_syntax_or_class_is_not_sent(files: Files) -> None:
    (one,) = files(1)
    wrong = [Instance(one.path, one.SOPInstanceUID, MR, EXPLICIT), Instance(one.path, one.SOPInstanceUID, CT, IMPLICIT)]
    with Faulty() as peer:
        assert all(sent.message is not None and "changed" in sent.message for _, sent in send(node(peer.port), wrong))
    assert peer.stored == {}


def test_missing_attributes_are_read_from_the_file(tmp_path: Path, instance: Write) -> None:
    """Explicit, implicit, without a preamble, without meta information, deflated to an odd length."""
    explicit = instance("explicit", SOPInstanceUID="1.2.1")
    dataset = pydicom.dcmread(explicit)
    paths = {"1.2.1": (explicit, EXPLICIT)}
    for uid, syntax in (("1.2.2", IMPLICIT), ("1.2.3", DEFLATED), ("1.2.4", IMPLICIT)):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        path = tmp_path / uid
        dataset.save_as(path, implicit_vr=syntax == IMPLICIT)
        paths[uid] = path, syntax
    bare = paths["1.2.4"][0]
    bare.write_bytes(data_set(bare))
    meta = tmp_path / "meta"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.6")
    dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    dataset.save_as(meta, implicit_vr=False)
    meta.write_bytes(meta.read_bytes()[132:])
    paths["1.2.6"] = meta, EXPLICIT
    with Faulty() as peer:
        told = outcomes(send(node(peer.port), [Instance(os.fsencode(path), uid) for uid, (path, _) in paths.items()]))
    assert all(each.stored for each in told.values())
    padded = {uid: data + b"\0" * (len(data) % 2) for uid, data in ((uid, data_set(path)) for uid, (path, _) in paths.items())}
    assert peer.stored == padded


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from(
        [b"", bytes(128) + b"DICM", bytes(128) + b"DICM\2\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99", b"\x08\0\x16\0"]
    ),
    rest=st.binary(max_size=300),
)
def test_no_bytes_end_a_batch(tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(start + rest)
    with Faulty() as peer:
        told = list(send(node(peer.port), [Instance(os.fsencode(file), "1.2.3")]))
    assert [sent.SOPInstanceUID for _, sent in told] == ["1.2.3"]
    assert not any(sent.retry for _, sent in told)


def test_a_refused_context_is_not_tried_again(files: Files, instance: Write) -> None:
    mr = Instance(os.fsencode(instance("mr", SOPClassUID=MR, SOPInstanceUID="1.2.3")), "1.2.3")
    sent = files(2)
    refused = "the node refuses the SOP class in this transfer syntax"
    with Faulty(refused=frozenset({MR})) as peer:
        assert outcomes(send(node(peer.port), [mr, *sent]))["1.2.3"] == Sent("1.2.3", None, False, refused)
        assert len(peer.stored) == 2
        assert outcomes(send(node(peer.port), [mr])) == {"1.2.3": Sent("1.2.3", None, False, refused)}
        with pytest.raises(ContextsRefused) as raised, requested(node(peer.port), [Context(MR, (EXPLICIT,))]):
            pass
    assert not raised.value.retry


def test_more_contexts_than_one_association_can_propose(instance: Write) -> None:
    classes = [f"1.2.826.0.1.3680043.10.7.{number}" for number in range(300)]
    sent = [
        Instance(os.fsencode(instance(f"data/{number}", SOPClassUID=each, SOPInstanceUID=f"1.2.3.{number}")), f"1.2.3.{number}")
        for number, each in enumerate(classes * 2)
    ]
    with Faulty() as peer:
        assert all(told.stored for _, told in send(node(peer.port), sent))
    # Each class in the transfer syntax of its files, and in the one that they can be converted to.
    assert [len(proposed) for proposed in peer.proposed] == [128, 128, 128, 128, 88]
    assert len(peer.stored) == 600


def test_the_rate_holds(files: Files) -> None:
    sent, start = files(10), monotonic()
    with Faulty() as peer:
        assert all(told.stored for _, told in send(node(peer.port), sent, max_rate=100_000))
    # Ten times more than 4 kB; the bytes of a tenth of a second may be sent at once.
    assert monotonic() - start > 0.25


def test_a_closed_iterator_leaves_no_association_open(files: Files) -> None:
    before = threading.active_count()
    with Faulty() as peer:
        assert len(list(islice(send(node(peer.port), files(10)), 3))) == 3
    assert len(peer.stored) == 3
    assert threading.active_count() == before


@pytest.mark.parametrize("maximum_length", [16384, 0])
def test_a_file_that_changes_while_it_is_sent(instance: Write, files: Files, maximum_length: int) -> None:
    # More than the buffers of two sockets hold.
    big = Instance(os.fsencode(instance("big", SOPInstanceUID="1.2.3", pixels=b"\1" * (64 << 20))), "1.2.3")
    rest = files(2)
    with Faulty(maximum_length=maximum_length, during=lambda: os.truncate(big.path, 1 << 20)) as peer:
        told = outcomes(send(node(peer.port), [big, *rest]))
    assert told["1.2.3"] == Sent("1.2.3", None, False, "the file changed while it was sent")
    assert set(peer.stored) == {each.SOPInstanceUID for each in rest}


def test_four_associations_at_once(files: Files) -> None:
    sent = files(100)
    with Faulty(dict.fromkeys(range(0, 100, 9), 0xA700)) as peer, ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda part: outcomes(send(node(peer.port), part)), [sent[start::4] for start in range(4)])
        told = {uid: each for part in parts for uid, each in part.items()}
    assert len(told) == 100
    assert {uid for uid, each in told.items() if each.stored} == set(peer.stored)
    assert len(peer.stored) == 88
    assert len(peer.proposed) == 4


def test_a_closed_port_is_an_error(files: Files) -> None:
    with pytest.raises(NodeError, match="refuses the connection") as raised:
        echo(node(free_port()))
    assert raised.value.retry


@contextmanager
def answering(data: bytes | None) -> Iterator[int]:
    """A listener that answers every connection with the same bytes, or none, and waits until the peer closes it."""
    listener = socket.create_server((HOST, 0))

    def serve() -> None:
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if data is not None:
                        connection.recv(65536)
                        connection.sendall(data)
                    while connection.recv(65536):
                        pass
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "words", "retry"),
    [
        (b"\3\0\0\0\0\4\0\1\1\7", r"permanently: called AE title not recognized \(service user\)", False),
        (b"\3\0\0\0\0\4\0\1\1\3", "permanently: calling AE title not recognized", False),
        (b"\3\0\0\0\0\4\0\1\2\2", r"protocol version not supported \(service provider, ACSE\)", False),
        (b"\3\0\0\0\0\4\0\2\3\1", r"for now: temporary congestion \(service provider, presentation\)", True),
        (b"\3\0\0\0\0\4\0\2\3\2", "local limit exceeded", True),
        (b"\7\0\0\0\0\4\0\0\0\0", "aborts the association", True),
        (b"\x15\3\3\0\2\2\x28", "requires TLS", False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answers the association request with something that is not DICOM", True),
        (b"\2\0\xff\xff\xff\xff", "the association was aborted here: the peer sent a PDU that is longer than negotiated", True),
        (None, "does not answer the association request within 0.5 s", True),
        (b"\2\0\0\0\1\0" + b"\0\1", "does not answer the association request within 0.5 s", True),
    ],
)
def test_the_reason_of_a_missing_association(
    answer: bytes | None, words: str, retry: bool, caplog: pytest.LogCaptureFixture
) -> None:
    before = threading.active_count()
    with answering(answer) as port, pytest.raises(NodeError, match=words) as raised:
        echo(node(port, acse_timeout=0.5 if "0.5" in words else 30))
    assert raised.value.retry == retry
    assert threading.active_count() == before
    assert not caplog.records


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.made(tmp_path_factory.mktemp("certificates"))


def test_tls(certificates: Certificates, files: Files) -> None:
    sent = files(3)
    for host_name in ("archive.test", None):
        with Faulty(tls=certificates.server()) as peer:
            told = dict(send(node(peer.port, tls=TLS(certificates["ca"], host_name=host_name)), sent))
        assert all(each.stored for each in told.values())
        assert peer.stored == {each.SOPInstanceUID: data_set(each.path) for each in sent}


# In TLS 1.3 the alert comes after the handshake, and the peer may close before it is read.
REQUIRES_OURS = r"rejected our certificate, or requires one|it may require a certificate"


def test_tls_to_storescp_with_a_certificate_of_ours(tmp_path: Path, certificates: Certificates, files: Files) -> None:
    sent = files(3)
    options: list[str | Path] = ["+tls", certificates["peer.key"], certificates["peer"], "+cf", certificates["ca"]]
    ours = TLS(certificates["ca"], certificates["client"], certificates["client.key"], "archive.test")
    with storescp(tmp_path, "+B", *options) as port:
        assert all(told.stored for _, told in send(node(port, tls=ours), sent))
        with pytest.raises(NodeError, match="rejected our certificate, or requires one") as raised:
            echo(node(port, tls=TLS(certificates["ca"])))
    assert not raised.value.retry
    assert received(tmp_path) == {each.SOPInstanceUID: data_set(each.path) for each in sent}


@pytest.mark.parametrize(
    ("server", "ca", "host_name", "words"),
    [
        ("peer", "other", None, "a certificate that is not signed by our CA"),
        ("expired", "ca", "archive.test", "an expired certificate"),
        ("peer", "ca", "elsewhere.test", "a certificate of another host"),
    ],
)
def test_invalid_certificates_of_the_peer(
    certificates: Certificates, server: str, ca: str, host_name: str | None, words: str
) -> None:
    with Faulty(tls=certificates.server(server)) as peer, pytest.raises(NodeError, match=words) as raised:
        echo(node(peer.port, tls=TLS(certificates[ca], host_name=host_name)))
    assert not raised.value.retry
    assert peer.proposed == []


def test_a_peer_that_requires_a_certificate(certificates: Certificates) -> None:
    with Faulty(tls=certificates.server(ask=True)) as peer:
        with pytest.raises(NodeError, match=REQUIRES_OURS):
            echo(node(peer.port, tls=TLS(certificates["ca"])))
        echo(node(peer.port, tls=TLS(certificates["ca"], certificates["client"], certificates["client.key"])))


def test_a_plain_peer_for_tls_and_a_tls_peer_for_plain(tmp_path: Path, certificates: Certificates) -> None:
    with storescp(tmp_path) as port, pytest.raises(NodeError, match="not speak TLS") as raised:
        echo(node(port, tls=TLS(certificates["ca"])))
    assert not raised.value.retry
    with Faulty(tls=certificates.server()) as peer, pytest.raises(NodeError, match=r"requires TLS|it may require TLS"):
        echo(node(peer.port))


def test_missing_tls_files(tmp_path: Path, certificates: Certificates) -> None:
    right = TLS(certificates["ca"], certificates["client"], certificates["client.key"])
    absent = tmp_path / "absent"
    for wrong in (replace(right, ca=absent), replace(right, certificate=absent), replace(right, key=absent)):
        with Faulty(tls=certificates.server()) as peer, pytest.raises(NodeError, match=r"cannot (be )?read") as raised:
            echo(node(peer.port, tls=wrong))
        assert not raised.value.retry
