"""Nodes that do harm: `find`, `plan`, `apply` that retrieves, and storage commitment, each in a process that is measured.

Whatever a node does ends in an error that names it, in bounded time and memory, and a good node of the same run is served.
"""

import json
import os
import re
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pyconquest_rules.dicom import Level
from pyconquest_rules.network import wire
from pyconquest_rules.network.dimse import Blocks
from pyconquest_rules.network.limits import LONGEST_PDU, MOST_STALLED
from pyconquest_rules.network.node import NodeError
from pyconquest_rules.network.query import find
from pyconquest_rules.network.retrieval import get, move
from pyconquest_rules.network.statuses import Status
from pyconquest_rules.network.storing import About
from tests.conftest import Instance, Workplace
from tests.peers import hostile_nodes
from tests.peers.certificates import Authority
from tests.peers.hostile_nodes import ANSWERS, ASSOCIATIONS, AT_GET, INSTANCE, MATCH, ODD_MATCHES, Hostile, Request
from tests.peers.pdus import CT, pdu

NODES = """
[sources.archive]
path = "archive"
layout = "{{{{ PatientID }}}}/{{{{ SOPInstanceUID }}}}.dcm"

[nodes.bad]
ae_title = "BAD"
host = "127.0.0.1"
port = {bad}
connect_timeout = 1
acse_timeout = 0.5
dimse_timeout = 0.5
commitment_timeout = 0.5
{more}

[nodes.good]
ae_title = "GOOD"
host = "127.0.0.1"
port = {good}
"""
RETRIEVE = """
[retrieve.a_bad]
node = "bad"
level = "series"
match = { PatientID = "P1" }
into = "archive"

[retrieve.b_good]
node = "good"
level = "series"
match = { PatientID = "P1" }
into = "archive"
"""
SEND = """
[sources.local]
path = "data"

[select.all]
level = "image"
where = "PatientName IS NOT NULL"

[send.a_bad]
select = "all"
node = "bad"
confirm = "storage-commitment"

[send.b_good]
select = "all"
node = "good"
confirm = "storage-commitment"
"""
GOOD = INSTANCE | {"SOPInstanceUID": "1.2.4.1.1", "StudyInstanceUID": "1.2.4", "SeriesInstanceUID": "1.2.4.1"}

# What is tried again need not be waited for.
PROGRAM = """
from pyconquest_rules.kinds.retrieve import do as retrievals
from pyconquest_rules.cli.main import main
retrievals.DELAYS = (0.01,)
main()
"""
MEGABYTES, SECONDS = 64, 100
LONG = {"matches without end", "pending without end"}


@dataclass(frozen=True)
class Ran:
    """A command that ended: its exit code, what it said, and the most memory that it took, in MB."""

    code: int
    said: str
    megabytes: float


def ran(folder: Path, *arguments: str) -> Ran:
    """Runs a command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (folder.parent / "said").open("w+b") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], cwd=folder, env=environment, stdout=said, stderr=said
        )
        end = time.monotonic() + SECONDS
        while not (waited := os.wait4(process.pid, os.WNOHANG))[0]:
            if time.monotonic() > end:
                process.kill()
                pytest.fail(f"{arguments} does not end")
            time.sleep(0.02)
        _, status, used = waited
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode(errors="replace")
    return Ran(process.returncode, text, used.ru_maxrss / 1024)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A workplace with a source to retrieve into."""
    (tmp_path / "work" / "archive").mkdir(parents=True)
    return Workplace(tmp_path / "work")


@contextmanager
def nodes(place: Workplace, bad: Hostile, text: str = "", more: str = "") -> Iterator[Hostile]:
    """Rules with a bad and a good node, which are served. Gives the good one."""
    good = Hostile(has=[GOOD], sent=[GOOD])
    with bad.serving() as port, good.serving() as other:
        place.rules(NODES.format(bad=port, good=other, more=more) + text)
        yield good


BASELINES: dict[tuple[str, ...], float] = {}


def assert_harmless(place: Workplace, bad: Hostile, *arguments: str, text: str = "", error: bool = True) -> Ran:
    """Runs a command with a bad node; compares its memory with that of the same with a node that does as it should."""
    if arguments not in BASELINES:
        other = Workplace(place.folder.parent / "baseline")
        (other.folder / "archive").mkdir(parents=True)
        if (place.folder / "data").exists():
            (other.folder / "data").symlink_to(place.folder / "data")
        with nodes(other, Hostile(), text):
            honest = ran(other.folder, *arguments)
            assert honest.code == 0, honest.said
            BASELINES[arguments] = honest.megabytes
    with nodes(place, bad, text):
        done = ran(place.folder, *arguments)
    assert "Traceback" not in done.said
    assert "bug in the program" not in done.said
    assert done.megabytes < BASELINES[arguments] + MEGABYTES
    if error:
        assert done.code == 1, done.said[-2000:]
        assert re.search(r"node bad \(BAD@127\.0\.0\.1:\d+\): ", done.said), done.said[-2000:]
    return done


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All of what a node may do with `--torture`, else some of it."""
    kinds: dict[str, Sequence[str]] = {
        "answer": [*ANSWERS],
        "begun": [*ASSOCIATIONS],
        "odd": [*ODD_MATCHES],
        "sent": [*AT_GET],
    }
    for name, known in kinds.items():
        if name in metafunc.fixturenames:
            # `find` does what `plan` does, and `echo` what `find` does: all of it by one of them is enough.
            alike = metafunc.function in (test_find_whatever_answers, test_echo_whatever_an_association_begins_with)
            whole = metafunc.config.getoption("torture") and not alike
            start = sum(map(ord, metafunc.function.__name__))  # another part of them for each test
            quick = [each for each in known if each not in LONG]
            metafunc.parametrize(name, known if whole else quick[start % 4 :: 11][:2])


def test_find_whatever_answers(place: Workplace, answer: str) -> None:
    assert_harmless(place, Hostile(act=ANSWERS[answer]), "find", "bad", "--level", "series", "--format", "csv")


def test_find_whatever_an_association_begins_with(place: Workplace, begun: str) -> None:
    assert_harmless(place, Hostile(begun=ASSOCIATIONS[begun]), "find", "bad", "--level", "series", "--format", "csv")


def test_echo_whatever_an_association_begins_with(place: Workplace, begun: str) -> None:
    assert_harmless(place, Hostile(begun=ASSOCIATIONS[begun]), "echo", "bad")


def test_a_match_that_cannot_be_used_hides_no_other(place: Workplace, odd: str) -> None:
    def act(request: Request) -> None:
        request.send(request.pending(ODD_MATCHES[odd]) * 3 + request.pending(MATCH) + request.message(request.response(0)))

    done = assert_harmless(place, Hostile(act=act), "find", "bad", "--level", "series", "--format", "csv", error=False)
    assert done.code == 0
    assert "P1,1.2.3,1.2.3.1" in done.said.splitlines() or "1.2.3,1.2.3.1" in done.said


def test_a_flood_after_the_release_is_not_waited_for(place: Workplace) -> None:
    bad = Hostile(after=pdu(4, bytes(60_000)))
    assert assert_harmless(place, bad, "find", "bad", "--level", "series", "--format", "csv", error=False).code == 0


def test_plan_goes_on_with_the_next_node(place: Workplace, answer: str) -> None:
    done = assert_harmless(place, Hostile(act=ANSWERS[answer]), "plan", "--list", "--json", text=RETRIEVE)
    assert GOOD["SOPInstanceUID"] in done.said


def test_retrieve_and_commitment_go_on_with_the_next_node(place: Workplace, instance: Instance, answer: str) -> None:
    instance(place.folder / "data" / "1.dcm")
    bad = Hostile(act=ANSWERS[answer], kinds=(wire.C_GET_RQ, wire.N_ACTION_RQ))
    done = assert_harmless(place, bad, "apply", "--json", text=RETRIEVE + SEND)
    assert f"archive/P1/{GOOD['SOPInstanceUID']}.dcm" in place.files()
    assert_only_the_bad_failed(done, "retrieve.a_bad", "send.a_bad")


def test_retrieve_whatever_is_sent(place: Workplace, sent: str) -> None:
    bad = Hostile(act=AT_GET[sent], kinds=(wire.C_GET_RQ,))
    done = assert_harmless(place, bad, "apply", "--json", text=RETRIEVE, error=False)
    there = {f"archive/P1/{GOOD['SOPInstanceUID']}.dcm"}
    if sent == "the same instance for ever":  # it came, once
        assert place.files("archive").keys() == {f"P1/{each['SOPInstanceUID']}.dcm" for each in (INSTANCE, GOOD)}
        return
    assert done.code == 1
    assert "node bad (BAD@" in done.said
    assert {name for name in place.files() if name.startswith("archive/")} == there


def flooded(request: Request) -> None:
    """The request is taken, and reports come without end, of another transaction."""
    request.send(request.message(request.response(0)))
    request.for_ever(request.message(hostile_nodes.EVENT, MATCH))


def trickled(request: Request) -> None:
    """The request is taken, and a report comes byte by byte."""
    request.send(request.message(request.response(0)))
    hostile_nodes.slowly(request.message(hostile_nodes.EVENT, MATCH) * 100)(request)


def deep(request: Request) -> None:
    """The request is taken, and a report is nested without end."""
    request.send(request.message(request.response(0)))
    request.for_ever(request.message(hostile_nodes.EVENT, hostile_nodes.nested(10_000)))


@pytest.mark.parametrize("act", [flooded, trickled, deep])
def test_commitment_whatever_is_reported(place: Workplace, instance: Instance, act: hostile_nodes.Act) -> None:
    instance(place.folder / "data" / "1.dcm")
    done = assert_harmless(place, Hostile(act=act, kinds=(wire.N_ACTION_RQ,)), "apply", "--json", text=SEND)
    assert_only_the_bad_failed(done, "send.a_bad")


def assert_only_the_bad_failed(done: Ran, *actions: str) -> None:
    lines = [json.loads(line) for line in done.said.splitlines()]
    assert {line["action"] for line in lines if line["event"] == "failed"} == {*actions}


def test_a_handshake_that_stalls(place: Workplace, tmp_path: Path) -> None:
    Authority(tmp_path)
    with hostile_nodes.stalled_handshake() as port, Hostile(has=[GOOD], sent=[GOOD]).serving() as good:
        tls = f'tls = {{ ca = "{tmp_path}/ca.pem" }}'
        place.rules(NODES.format(bad=port, good=good, more=tls) + RETRIEVE)
        done = ran(place.folder, "apply", "--json")
    assert "did not complete the TLS handshake within 1 s" in done.said
    assert f"archive/P1/{GOOD['SOPInstanceUID']}.dcm" in place.files()


def test_a_data_set_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4 GB, which are less here."""
    monkeypatch.setattr("pyconquest_rules.network.association.LONGEST_DATA_SET", 1 << 24)

    def without_end(request: Request) -> None:
        command = wire.command_set({**hostile_nodes.STORE, wire.AFFECTED_SOP_INSTANCE: b"1.2.3.1.1"})
        context_id = next(at for at, (abstract, *_) in request.contexts.items() if abstract == CT)
        piece = wire.p_data(context_id, 0, hostile_nodes.FLOOD) + hostile_nodes.FLOOD
        request.for_ever(wire.message(context_id, command, 16384), piece)

    bad, words = Hostile(act=without_end, kinds=(wire.C_GET_RQ,)), "a data set of more than 16,777,216 bytes"
    with bad.listening() as node, pytest.raises(NodeError, match=words) as error:
        get(node, Level.SERIES, RETRIEVED, lambda about, data_set: Status.SUCCESS, [CT])
    assert not error.value.retry


# Each limit, the bad node that meets it, and what is said of it.
LIMITS = {
    "MOST_MATCHES": ("matches without end", "more than 100,000 responses to one request; narrow the query"),
    "LONGEST_IDENTIFIER": ("an identifier without end", "a data set of more than 1,048,576 bytes|an identifier of more than"),
    "LEAST_RATE": ("an identifier in a trickle", "slower than 4,096 bytes a second"),
    "PATIENCE": ("matches without end, slowly", "the peer took"),
    "MOST_EMPTY": ("empty fragments of a data set", "more than 1,000 fragments without a byte"),
    "LONGEST_COMMAND": ("a command without end", "a command of more than 65,536 bytes"),
    "MOST_REQUESTS": ("requests of its own", "too many requests of its own"),
    "max_pdu": ("a PDU longer than max_pdu", "longer than negotiated \\(131,072 bytes\\)"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_each_limit_is_named(limit: str) -> None:
    answer, words = LIMITS[limit]
    with Hostile(act=ANSWERS[answer]).listening() as node, pytest.raises(NodeError, match=words):
        for _ in find(replace(node, dimse_timeout=0.5), Level.STUDY, {}):
            pass


RETRIEVED = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1"}

# Limits of what C-GET brings, smaller here; the bad node that meets each, and what is said of it.
OF_GET = {
    "MOST_REFUSED": (
        10,
        "instances that nobody wants",
        r"sent more than 12 instances, or .* were refused here; use level = .image.",
    ),
    "MOST_REFUSED_BYTES": (1000, "instances that nobody wants", "or 1,000 bytes, that were refused here"),
    "MOST_SUBOPERATIONS": (20, "the same instance for ever", "too many requests of its own"),
}


@pytest.mark.parametrize("limit", OF_GET)
def test_each_limit_of_c_get_is_named(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    number, sent, words = OF_GET[limit]
    monkeypatch.setattr(f"pyconquest_rules.network.retrieval.{limit}", number)

    def store(about: About, data_set: Blocks) -> int:
        return Status.SUCCESS if about.sop_instance == INSTANCE["SOPInstanceUID"] else Status.NOT_AUTHORIZED

    with Hostile(act=AT_GET[sent], kinds=(wire.C_GET_RQ,)).listening() as node, pytest.raises(NodeError, match=words):
        get(node, Level.SERIES, RETRIEVED, store, [CT], wanted=2)


def test_the_bytes_of_all_matches_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconquest_rules.network.query.MOST_RECEIVED", 100_000)
    with (
        Hostile(act=ANSWERS["matches without end"]).listening() as node,
        pytest.raises(NodeError, match="100,000 bytes of matches"),
    ):
        list(find(node, Level.SERIES, {}))


@pytest.mark.parametrize("act", [ANSWERS["silence"], ANSWERS["pending without end, slowly"], AT_GET["progress that is none"]])
def test_c_move_is_not_waited_for_without_end(act: hostile_nodes.Act) -> None:
    with Hostile(act=act).listening() as node, pytest.raises(NodeError, match=r"the peer took|the peer is silent"):
        list(move(replace(node, dimse_timeout=0.5), Level.SERIES, RETRIEVED, "US", wanted=1))


@pytest.mark.parametrize("max_pdu", [0, 1 << 24])
def test_the_longest_pdu_takes_no_more_memory_than_it_has(max_pdu: int) -> None:
    """However much of it is claimed."""

    def act(request: Request) -> None:
        request.for_ever(struct.pack(">BxI", 4, LONGEST_PDU) + struct.pack(">IBB", LONGEST_PDU - 4, 1, 0), bytes(LONGEST_PDU - 6))

    with Hostile(act=act).listening() as node:
        find_all = find(replace(node, max_pdu=max_pdu), Level.SERIES, {})
        tracemalloc.start()
        with pytest.raises(NodeError):
            list(find_all)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < (MEGABYTES << 20) + 3 * LONGEST_PDU  # the node itself, which is in this process, has some too


def test_a_node_that_stalls_at_each_series_is_given_up(place: Workplace) -> None:
    """MOST_STALLED of them, of 40. The next action is done."""
    has = [INSTANCE | {"SeriesInstanceUID": f"1.2.3.{number}", "SOPInstanceUID": f"1.2.3.{number}.1"} for number in range(40)]
    bad = Hostile(has=has, act=hostile_nodes.silent, kinds=(wire.C_GET_RQ,))
    done = assert_harmless(place, bad, "apply", "--json", text=RETRIEVE)
    assert done.said.count("for 8 series in a row; gave up") == 40 - MOST_STALLED
    assert f"archive/P1/{GOOD['SOPInstanceUID']}.dcm" in place.files()
