"""`confirm = "storage-commitment"`: what the node commits itself to is there; what it does not is told, and asked for again."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.events import EVT_C_STORE, EVT_DIMSE_SENT, EVT_N_ACTION
from pynetdicom.presentation import build_context, build_role

from pyconquest_rules.network.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from tests.conftest import Instance, Workplace
from tests.execute.processes import applying
from tests.execute.sends import SLICES
from tests.peers.archives import orthanc, undisturbed
from tests.peers.commitment import CT, information
from tests.peers.processes import free_port

RULES = (
    SLICES
    + """
[nodes.peer]
ae_title = "{ae_title}"
host = "127.0.0.1"
port = {port}
commitment_timeout = {seconds}
{more}

[send.out]
select = "slices"
node = "peer"
confirm = "storage-commitment"
"""
)

NUMBER = 10
LONG = 30

Answer = Callable[[list[str]], dict[str, int | None]]


def all_of_them(uids: list[str]) -> dict[str, int | None]:
    return dict.fromkeys(uids)


@dataclass
class Archive:
    """A peer that stores, and reports on the association of the request, or on one of its own to `calls`.

    `answer` gives the Failure Reasons of the instances that it speaks of, None where it commits itself; it is None for silence.
    `asked` is called when a request has come.
    """

    answer: Answer | None = all_of_them
    calls: int | None = None
    asked: Callable[[], None] = lambda: None
    stored: list[str] = field(default_factory=list)
    requests: list[tuple[str, list[str]]] = field(default_factory=list)
    port: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)

    def store(self, event: Any) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    def act(self, event: Any) -> tuple[int, None]:
        wanted = event.action_information
        uids = [str(item.ReferencedSOPInstanceUID) for item in wanted.ReferencedSOPSequence]
        self.requests.append((str(wanted.TransactionUID), uids))
        self.asked()
        return 0, None

    def sent(self, event: Any) -> None:
        if type(event.message).__name__ == "N_ACTION_RSP" and self.answer is not None:
            self._threads.append(threading.Thread(target=self._report, args=(event.assoc, self.answer, *self.requests[-1])))
            self._threads[-1].start()

    def _report(self, association: Any, answer: Answer, transaction: str, uids: list[str]) -> None:
        said = answer(uids)
        committed = [uid for uid, reason in said.items() if reason is None]
        report = information(transaction, committed, {uid: reason for uid, reason in said.items() if reason is not None})
        if self.calls is None:
            with undisturbed(association):
                association.send_n_event_report(report, 2, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            return
        role = build_role(UID(PUSH_MODEL), scp_role=True)
        own = AE(ae_title="ARCHIVE").associate("127.0.0.1", self.calls, [build_context(PUSH_MODEL)], "PYCONQUEST", ext_neg=[role])
        own.send_n_event_report(report, 2, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        own.release()


@contextmanager
def archive(**settings: Any) -> Iterator[Archive]:
    """One that listens."""
    made = Archive(**settings)
    ae = AE(ae_title="ARCHIVE")
    ae.add_supported_context(CT)
    ae.add_supported_context(PUSH_MODEL)
    handlers: list[Any] = [(EVT_C_STORE, made.store), (EVT_N_ACTION, made.act), (EVT_DIMSE_SENT, made.sent)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    made.port = server.server_address[1]
    try:
        yield made
    finally:
        for thread in made._threads:
            thread.join(LONG)
        server.shutdown()


@pytest.fixture
def images(workplace: Workplace, instance: Instance) -> Workplace:
    for number in range(NUMBER):
        instance(f"data/{number}.dcm", SOPInstanceUID=f"1.2.{number}", InstanceNumber=number)
    return workplace


def rules(peer: Archive, *, seconds: float = LONG) -> str:
    more = "" if peer.calls is None else f"commitment_port = {peer.calls}"
    return RULES.format(ae_title="ARCHIVE", port=peer.port, seconds=seconds, more=more)


def reasons(images: Workplace) -> dict[str, int]:
    found: dict[str, int] = images.run("plan", "--json").summary["reasons"]
    return found


def failures(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {line["SOPInstanceUID"]: line["message"] for line in lines if line["event"] == "failed"}


def test_what_orthanc_commits_itself_to_is_confirmed(images: Workplace) -> None:
    port = free_port()
    with orthanc({"PYCONQUEST": port}) as node:
        more = f"commitment_port = {port}"
        images.rules(RULES.format(ae_title=node.ae_title, port=node.port, seconds=LONG, more=more))
        done = images.run("apply", "--json")
        assert (done.code, done.summary["done"], done.summary["failed"]) == (0, NUMBER, 0)
        assert reasons(images) == {"unchanged:done": NUMBER}
        assert images.run("apply", "--json").summary["done"] == 0


@pytest.mark.parametrize("own", [False, True], ids=["on our association", "on its own"])
def test_what_the_node_does_not_commit_to_is_told_and_asked_for_again(images: Workplace, own: bool) -> None:
    """And what it says that it does not have is sent again."""

    def answer(uids: list[str]) -> dict[str, int | None]:
        said: dict[str, int | None] = {"1.2.0": 0x0112, "1.2.1": 0x0213, "1.2.2": 0x0999}
        return {uid: said.get(uid) for uid in uids if uid != "1.2.3"}

    with archive(calls=free_port() if own else None, answer=answer) as peer:
        images.rules(rules(peer))
        first = images.run("apply", "--json")
        assert (first.code, first.summary["done"], first.summary["failed"]) == (1, NUMBER - 4, 4)
        assert failures(first.lines) == {
            "1.2.0": "the node does not commit to it: no such object instance (0112); the next run sends it again",
            "1.2.1": "the node does not commit to it: resource limitation (0213); the next run asks again",
            "1.2.2": "the node does not commit to it: failure reason (0999); the next run asks again",
            "1.2.3": "the node does not say whether it commits to it; the next run asks again",
        }
        assert reasons(images) == {"unchanged:done": 6, "todo:retry": 1, "todo:unconfirmed": 3}
        peer.answer = all_of_them
        again = images.run("apply", "--json")
        assert (again.code, again.summary["done"], again.summary["failed"]) == (0, 4, 0)
        assert peer.stored[NUMBER:] == ["1.2.0"]
        assert [sorted(uids) for _, uids in peer.requests[1:]] == [["1.2.1", "1.2.2", "1.2.3"], ["1.2.0"]]
        assert reasons(images) == {"unchanged:done": NUMBER}


def test_a_node_that_does_not_report_is_asked_by_the_next_run(images: Workplace) -> None:
    with archive(answer=None) as peer:
        images.rules(rules(peer, seconds=0.2))
        first = images.run("apply", "--json")
        assert (first.code, first.summary["done"], first.summary["failed"]) == (1, 0, NUMBER)
        assert all("did not report its commitment within 0.2 s" in why for why in failures(first.lines).values())
        assert reasons(images) == {"todo:unconfirmed": NUMBER}
        peer.answer = all_of_them
        images.rules(rules(peer))
        assert images.run("apply", "--json").summary["done"] == NUMBER
        assert len(peer.stored) == NUMBER


def test_a_run_after_one_that_was_killed_in_between_only_asks(images: Workplace) -> None:
    with archive() as peer:
        images.rules(rules(peer))
        with applying(images) as process:
            peer.asked = lambda: os.kill(process.pid, signal.SIGKILL)
            assert process.wait(LONG) == -signal.SIGKILL
        peer.asked = lambda: None
        assert reasons(images) == {"todo:unconfirmed": NUMBER}
        done = images.run("apply", "--json")
        assert (done.code, done.summary["done"], done.summary["failed"]) == (0, NUMBER, 0)
        assert len(peer.stored) == NUMBER
        assert reasons(images) == {"unchanged:done": NUMBER}


def test_a_run_that_is_to_end_does_not_wait_for_a_report(images: Workplace) -> None:
    with archive(answer=None) as peer:
        images.rules(rules(peer, seconds=3600))
        with applying(images) as process:
            peer.asked = lambda: os.kill(process.pid, signal.SIGTERM)
            assert process.wait(LONG) == 130
        assert reasons(images) == {"todo:unconfirmed": NUMBER}


def test_what_another_action_sent_is_asked_for_too(images: Workplace) -> None:
    with archive() as peer:
        only_sent = '[send.first]\nselect = "slices"\nnode = "peer"\n'
        images.rules(rules(peer) + only_sent)
        assert images.run("apply", "send.first", "--json").summary["done"] == NUMBER
        assert images.run("apply", "send.out", "--json").summary["done"] == NUMBER
        assert (len(peer.stored), len(peer.requests)) == (NUMBER, 1)


def test_a_port_that_is_taken_confirms_nothing_and_ends_nothing(images: Workplace) -> None:
    with archive() as peer:
        peer.calls = peer.port
        images.rules(rules(peer))
        done = images.run("apply", "--json")
        assert (done.code, done.summary["done"], done.summary["failed"]) == (1, 0, NUMBER)
        assert all(f"cannot listen on 127.0.0.1:{peer.port}" in why for why in failures(done.lines).values())
        assert reasons(images) == {"todo:unconfirmed": NUMBER}


def test_a_node_that_is_gone_is_asked_a_few_times(images: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconquest_rules.kinds.send.confirming.AT_ONCE", 1)
    with archive(answer=lambda uids: dict.fromkeys(uids, 0x0110)) as peer:
        images.rules(rules(peer))
        assert images.run("apply", "--json").summary["failed"] == NUMBER
        assert len(peer.requests) == NUMBER
        peer.answer = None
        images.rules(rules(peer, seconds=0.01))
        again = images.run("apply", "--json").summary
        assert (again["done"], again["failed"]) == (0, NUMBER)
        assert len(peer.requests) == NUMBER + 3
