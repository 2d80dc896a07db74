"""Peers that fail at some instances: all others arrive in the first run, and nothing is called done that did not arrive.

A fault is bound to an instance, which such a peer never takes, or comes once. With `--torture` there are 200 peers, else a few.
"""

import os
import sqlite3
from contextlib import closing
from random import Random

import pytest

from tests.conftest import Done, Workplace, save
from tests.data_sets import data_set
from tests.execute.sends import SLICES
from tests.peers.faulty import Fault, Faulty

RULES = (
    SLICES
    + """
[nodes.peer]
ae_title = "PEER{number}"
host = "127.0.0.1"
port = {port}
dimse_timeout = {seconds}
acse_timeout = 30

[send.out]
select = "slices"
node = "peer"
associations = {associations}
"""
)

NUMBER, RUNS = 300, 200
STALLS: tuple[Fault, ...] = ("silence", "half a PDU")
KINDS: tuple[Fault, ...] = (*("abort", "close", "garbage", "wrong message ID", "wrong instance", "release") * 2, *STALLS)
# Long enough for a good answer on a busy machine, mostly. One that comes later costs no more than another try.
SECONDS = 0.3


def uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.10.9.{number}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace with many tiny instances, indexed. Each peer has an AE title of its own, so that none has anything yet."""
    made = Workplace(tmp_path_factory.mktemp("starving"))
    (made.folder / "data").mkdir()
    for number in range(NUMBER):
        elements = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "SOPInstanceUID": uid(number),
            "StudyInstanceUID": "1.2.826.0.1.3680043.10.2.1",
            "SeriesInstanceUID": "1.2.826.0.1.3680043.10.3.1",
            "Modality": "CT",
            "PatientID": "P1",
            "InstanceNumber": number,
        }
        save(made.folder / "data" / f"{number:03}.dcm", elements, os.urandom(50))
    assert made.rules(RULES.format(number=0, port=1, seconds=1, associations=1)).run("index").code == 0
    return made


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconquest_rules.kinds.send.do.DELAYS", (0.01, 0.01, 0.01))


def apply(workplace: Workplace, peer: Faulty, number: int, *, associations: int = 1, seconds: float = SECONDS) -> Done:
    workplace.rules(RULES.format(number=number, port=peer.port, seconds=seconds, associations=associations))
    return workplace.run("apply", "--no-index", "--json")


def called_sent(workplace: Workplace, number: int) -> set[str]:
    with closing(sqlite3.connect(workplace.folder / ".pyconquest-rules" / "state.db")) as ledger:
        return {
            found
            for (found,) in ledger.execute(
                "SELECT member FROM done WHERE kind = 'instance' AND target LIKE ?", (f"PEER{number}@%",)
            )
        }


def some_runs(config: pytest.Config) -> range:
    return range(RUNS) if config.getoption("torture") else range(0, RUNS, 19)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", some_runs(metafunc.config))


def test_every_good_instance_arrives_in_the_first_run(workplace: Workplace, seed: int) -> None:
    random = Random(seed)
    faulty = random.sample(range(NUMBER), random.randint(1, 7))
    if seed % 4 == 0:  # side by side, from the first on
        faulty = [*range(len(faulty))]
    bound = {uid(number): random.choice(KINDS) for number in faulty if random.random() < 0.6}
    once = {uid(number): random.choice(KINDS) for number in faulty if uid(number) not in bound}
    with Faulty(bound=bound, once=dict(once)) as peer:
        done = apply(workplace, peer, seed + 1, associations=random.choice((1, 1, 2, 4)))
    assert not peer.once, "a fault was not made"
    assert bound.keys() <= {*peer.order}
    failed = {line["SOPInstanceUID"] for line in done.lines if line["event"] == "failed"}
    assert failed == bound.keys()
    assert (done.summary["done"], done.summary["failed"], done.code) == (NUMBER - len(bound), len(bound), int(bool(bound)))
    assert called_sent(workplace, seed + 1) == peer.stored.keys()
    assert peer.stored == {
        uid(number): data_set(workplace.folder / "data" / f"{number:03}.dcm")
        for number in range(NUMBER)
        if uid(number) not in bound
    }


ABORTS: dict[str, Fault] = {uid(number): "abort" for number in range(NUMBER)}


@pytest.mark.parametrize("bad", [3, 30, 99, 100, 250])
def test_bad_instances_that_come_first_keep_no_other_from_its_turn(workplace: Workplace, bad: int) -> None:
    with Faulty(bound={uid(number): "abort" for number in range(bad)}) as peer:
        done = apply(workplace, peer, 1000 + bad)
        assert (done.summary["done"], done.summary["failed"]) == (NUMBER - bad, bad)
        assert peer.stored.keys() == {uid(number) for number in range(bad, NUMBER)}


@pytest.mark.parametrize("associations", [1, 4])
@pytest.mark.parametrize("fault", ["abort", "close", "silence", "garbage"])
def test_a_peer_that_answers_nothing_at_all_is_given_up_soon(workplace: Workplace, fault: Fault, associations: int) -> None:
    """C-ECHO included. The number of associations does not depend on that of the instances."""
    with Faulty(dict.fromkeys(range(10_000), fault)) as peer:
        done = apply(workplace, peer, 2000 + 10 * associations + KINDS.index(fault), associations=associations, seconds=0.2)
        assert (done.code, done.summary["done"], done.summary["failed"]) == (1, 0, NUMBER)
        assert len(peer.proposed) < 20 * associations
        peer.faults = {}
        assert apply(workplace, peer, 2000 + 10 * associations + KINDS.index(fault)).summary["done"] == NUMBER


@pytest.mark.parametrize("fault", STALLS)
def test_a_peer_that_only_answers_echo_is_given_up_soon(workplace: Workplace, fault: Fault) -> None:
    number = 3000 + STALLS.index(fault)
    with Faulty(bound=dict.fromkeys(ABORTS, fault)) as peer:
        assert apply(workplace, peer, number, seconds=0.2).summary["failed"] == NUMBER
        assert len(peer.order) < 20
        tried = {*peer.order}
        peer.order.clear()
        # The next run begins with others.
        assert apply(workplace, peer, number, seconds=0.2).summary["failed"] == NUMBER
        assert not tried & {*peer.order}


def test_what_failed_goes_last_in_the_next_run(workplace: Workplace) -> None:
    bad = [uid(number) for number in (0, 1, 50, 120, 299)]
    with Faulty(bound=dict.fromkeys([*bad, *map(uid, range(200, 230))], "abort")) as peer:
        assert apply(workplace, peer, 4000).summary["failed"] == 35
        for path in (workplace.folder / "data").iterdir():
            os.utime(path)
        assert workplace.run("index").code == 0
        peer.bound, sent = {}, len(peer.order)
        assert apply(workplace, peer, 4000).summary["done"] == NUMBER
        assert {*peer.order[-35:]} == {*bad, *map(uid, range(200, 230))}
        assert len(peer.order) == sent + NUMBER


def test_many_instances_that_a_peer_leaves_without_an_answer_starve_no_other(workplace: Workplace) -> None:
    """More than a run waits for: each run begins with instances that had no turn yet, and at last all good ones arrived."""
    bad = {uid(number) for number in range(40)}
    with Faulty(bound=dict.fromkeys(bad, "silence")) as peer:
        for _ in range(15):
            if apply(workplace, peer, 5000, seconds=0.2).summary["failed"] == len(bad):
                break
        assert {*peer.stored} == {uid(number) for number in range(40, NUMBER)}
