"""`[send.*]` to a peer that makes mistakes: none of them is called sent, the others are delivered, a rerun sends the rest."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.conftest import Done, Workplace, save
from tests.data_sets import data_set
from tests.execute.sends import SLICES
from tests.peers.faulty import Fault, Faulty

RULES = (
    SLICES
    + """
[nodes.peer]
ae_title = "{title}"
host = "127.0.0.1"
port = {port}
dimse_timeout = {seconds}

[send.out]
select = "slices"
node = "peer"
associations = {associations}
"""
)

NUMBER = 100
PLACES = (0, 50, 99)
"""The first, the middle and the last."""

NO_ANSWER: tuple[Fault, ...] = ("silence", "half a PDU")

Apply = Callable[..., Done]


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace with as many small instances, indexed. Each peer has an AE title of its own: so none has any of them yet.

    A port does not tell two of them apart. The system gives one again that it gave some tests before.
    """
    workplace = Workplace(tmp_path_factory.mktemp("hundred"))
    (workplace.folder / "data").mkdir()
    for number in range(NUMBER):
        elements = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "SOPInstanceUID": f"1.2.826.0.1.3680043.10.9.{number}",
            "StudyInstanceUID": "1.2.826.0.1.3680043.10.2.1",
            "SeriesInstanceUID": "1.2.826.0.1.3680043.10.3.1",
            "Modality": "CT",
            "PatientID": "P1",
        }
        save(workplace.folder / "data" / f"{number}.dcm", elements, os.urandom(500))
    assert workplace.rules(RULES.format(title="NOBODY", port=1, seconds=1, associations=1)).run("index").code == 0
    return workplace


@pytest.fixture
def data_sets(hundred: Workplace) -> dict[str, bytes]:
    """What must arrive."""
    return {f"1.2.826.0.1.3680043.10.9.{path.stem}": data_set(path) for path in (hundred.folder / "data").iterdir()}


@pytest.fixture
def apply(hundred: Workplace) -> Apply:
    def run(peer: Faulty, seconds: float = 30, associations: int = 1) -> Done:
        hundred.rules(RULES.format(title=peer.title, port=peer.port, seconds=seconds, associations=associations))
        return hundred.run("apply", "--no-index", "--json")

    return run


def sent(hundred: Workplace, peer: Faulty) -> set[str]:
    """What the ledger says that a peer has."""
    with closing(sqlite3.connect(hundred.folder / ".pyconquest-rules" / "state.db")) as ledger:
        return {
            uid
            for (uid,) in ledger.execute(
                "SELECT member FROM done WHERE kind = 'instance' AND target LIKE ?", (f"{peer.title}@%",)
            )
        }


def told(done: Done, event: str) -> dict[str, str]:
    return {line["SOPInstanceUID"]: line["message"] for line in done.lines if line["event"] == event}


ANSWERS: tuple[Fault, ...] = (0xA700, 0xA900, 0xC000, 0x0110, "wrong message ID", "wrong instance")
BREAKS: tuple[Fault, ...] = ("garbage", *NO_ANSWER, "abort", "abort within", "close", "release")


@pytest.mark.parametrize("fault", [*ANSWERS, *BREAKS], ids=lambda fault: fault if isinstance(fault, str) else f"{fault:04X}")
def test_what_was_not_answered_well_is_not_sent_and_goes_with_the_next_run(
    hundred: Workplace, apply: Apply, data_sets: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr("pyconquest_rules.kinds.send.do.DELAYS", ())
    with Faulty(dict.fromkeys(PLACES, fault)) as peer:
        first = apply(peer, seconds=2 if fault in NO_ANSWER else 30)
        assert first.code == 1
        assert (first.summary["done"], first.summary["failed"]) == (NUMBER - len(PLACES), len(PLACES))
        assert sent(hundred, peer) == set(peer.stored) == data_sets.keys() - told(first, "failed").keys()
        messages, peer.faults = peer.messages, {}
        again = apply(peer)
        assert (again.code, again.summary["done"], again.summary["failed"]) == (0, len(PLACES), 0)
        assert peer.messages - messages == len(PLACES)
        assert peer.stored == data_sets
        assert apply(peer).summary["done"] == 0
        assert peer.messages - messages == len(PLACES)


@pytest.mark.parametrize(("status", "words"), [(0xB000, "coercion of data elements"), (0xB006, "elements discarded")])
def test_what_the_peer_warns_of_is_sent_and_told(
    hundred: Workplace, apply: Apply, data_sets: dict[str, bytes], status: int, words: str
) -> None:
    with Faulty(dict.fromkeys(PLACES, status)) as peer:
        done = apply(peer)
        assert (done.code, done.summary["done"]) == (0, NUMBER)
        assert [*told(done, "warning").values()] == [f"{words} ({status:04X})"] * len(PLACES)
        assert sent(hundred, peer) == data_sets.keys()
        assert peer.stored == data_sets
        assert apply(peer).summary["done"] == 0


@pytest.mark.parametrize("fault", [0xA700, "wrong message ID", "abort"])
def test_what_may_go_well_later_goes_well_in_the_same_run(
    hundred: Workplace, apply: Apply, data_sets: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr("pyconquest_rules.kinds.send.do.DELAYS", (0.0,))
    with Faulty(dict.fromkeys(PLACES, fault)) as peer:
        done = apply(peer, associations=4)
        assert (done.code, done.summary["done"]) == (0, NUMBER)
        assert sent(hundred, peer) == data_sets.keys()
        assert (peer.stored, peer.messages) == (data_sets, NUMBER + len(PLACES))
