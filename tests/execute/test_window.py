"""`window` of `[send.NAME]`: when may be sent. What waits for it is no failure."""

from collections.abc import Callable
from datetime import datetime, time, timedelta

import pytest

from pyconquest_rules import app
from pyconquest_rules.app.loading import Rules
from pyconquest_rules.engine.runner import Result
from pyconquest_rules.events import Event, StepsWait
from pyconquest_rules.kinds.send.rule import Send
from tests.conftest import Instance, Workplace
from tests.execute.sends import SLICES
from tests.peers.faulty import Faulty

RULES = (
    SLICES
    + """
[nodes.peer]
ae_title = "PEER"
host = "127.0.0.1"
port = {port}

[send.out]
select = "slices"
node = "peer"
window = "{window}"
{more}
"""
)
NIGHT = "22:00-06:00"
NUMBER = 10


@pytest.fixture
def images(workplace: Workplace, instance: Instance) -> Workplace:
    for number in range(NUMBER):
        instance(f"data/{number}.dcm", InstanceNumber=number)
    return workplace


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("22:00-06:00", ["22:00:00", "23:59:59", "00:00:00", "05:59:59"], ["06:00:00", "12:00:00", "21:59:59"]),
        ("12:30-13:00", ["12:30:00", "12:59:59"], ["12:29:59", "13:00:00", "00:00:00"]),
        ("18:00-00:00", ["18:00:00", "23:59:59"], ["00:00:00", "17:59:59"]),
        ("07:00-07:00", ["07:00:00", "06:59:59", "20:00:00"], []),
    ],
)
def test_is_from_a_time_to_before_another(window: str, inside: list[str], outside: list[str]) -> None:
    send = Send(select="slices", node="peer", window=window)
    assert all(send.is_open(time.fromisoformat(now)) for now in inside)
    assert not any(send.is_open(time.fromisoformat(now)) for now in outside)


def applied(images: Workplace, clock: Callable[[], datetime]) -> tuple[Result, list[Event]]:
    """What `apply` came to, and what it told."""
    assert images.run("index").code == 0
    rules, told = Rules.load(images.folder / "rules.toml"), list[Event]()
    with app.running(rules), app.plan(rules) as plan:
        return app.apply(rules, plan, emit=told.append, clock=clock), told


def at(hour: int) -> datetime:
    return datetime(2026, 3, 1, hour)


def test_outside_it_nothing_is_sent_and_nothing_has_failed(images: Workplace) -> None:
    with Faulty() as peer:
        images.rules(RULES.format(port=peer.port, window=NIGHT, more=""))
        result, told = applied(images, lambda: at(12))
        assert (result.counts["done"], result.counts["failed"], result.counts["blocked"]) == (0, 0, 0)
        assert result.counts["waiting"] == NUMBER
        assert [event for event in told if isinstance(event, StepsWait)] == [
            StepsWait("send.out", NUMBER, "outside its window 22:00-06:00")
        ]
        assert peer.messages == 0
        assert images.run("plan", "--json").summary["reasons"] == {"todo:new": NUMBER}
        result, told = applied(images, lambda: at(23))
        assert (result.counts["done"], result.counts["waiting"]) == (NUMBER, 0)
        assert not any(isinstance(event, StepsWait) for event in told)


def test_when_it_closes_no_other_batch_is_begun(images: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconquest_rules.kinds.send.do.BATCH", 3)
    with Faulty() as peer:
        images.rules(RULES.format(port=peer.port, window=NIGHT, more=""))
        result, _ = applied(images, lambda: at(5 if peer.messages < 4 else 6))
        assert (result.counts["done"], result.counts["failed"], result.counts["waiting"]) == (6, 0, 4)
        assert len(peer.stored) == 6
        result, _ = applied(images, lambda: at(0))
        assert (result.counts["done"], result.counts["unchanged"]) == (4, 6)
        assert (len(peer.stored), peer.messages) == (NUMBER, NUMBER)


def test_what_would_be_tried_again_waits_too(images: Workplace) -> None:
    """Out of resources is tried again after a while, but not once the window has closed."""
    with Faulty({0: 0xA700}) as peer:
        images.rules(RULES.format(port=peer.port, window=NIGHT, more=""))
        result, _ = applied(images, lambda: at(5 if peer.messages < NUMBER else 6))
        assert (result.counts["done"], result.counts["failed"], result.counts["waiting"]) == (NUMBER - 1, 0, 1)


def test_actions_that_need_it_wait_with_it(images: Workplace) -> None:
    more = '[copy.after]\nselect = "slices"\nto = "sent/{{ SOPInstanceUID }}"\nneeds = ["send.out"]\n'
    with Faulty() as peer:
        images.rules(RULES.format(port=peer.port, window=NIGHT, more=more))
        result, told = applied(images, lambda: at(12))
        assert (result.counts["done"], result.counts["blocked"], result.counts["waiting"]) == (0, 0, 2 * NUMBER)
        assert StepsWait("copy.after", NUMBER, "send.out, which it needs, waits") in told
        result, _ = applied(images, lambda: at(23))
        assert result.counts["done"] == 2 * NUMBER


def test_what_was_sent_is_asked_for_outside_of_it(images: Workplace) -> None:
    with Faulty() as peer:  # which gives no answer to C-FIND
        images.rules(RULES.format(port=peer.port, window=NIGHT, more=""))
        applied(images, lambda: at(23))
        images.rules(RULES.format(port=peer.port, window=NIGHT, more='confirm = "c-find"'))
        result, _ = applied(images, lambda: at(12))
        assert (result.counts["failed"], result.counts["waiting"]) == (NUMBER, 0)


def test_the_command_says_what_waits_and_ends_well(images: Workplace) -> None:
    later = [datetime.now() + timedelta(hours=hours) for hours in (2, 3)]
    window = "-".join(f"{hour:%H:%M}" for hour in later)
    with Faulty() as peer:
        images.rules(RULES.format(port=peer.port, window=window, more=""))
        done = images.run("apply")
        assert done.code == 0
        assert f"send.out: outside its window {window}: 10 instances wait" in done.err
        assert "done 0, waiting 10" in done.err
        told = images.run("apply", "--json")
        assert (told.code, told.summary["waiting"]) == (0, NUMBER)
        assert told.lines[-2] == {
            "event": "waiting",
            "action": "send.out",
            "steps": NUMBER,
            "why": f"outside its window {window}",
        }
