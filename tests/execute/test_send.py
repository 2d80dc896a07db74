"""`[send.NAME]` with a real peer: what has the peer's status is never sent again, and what has none is never called sent."""

import os
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace
from tests.execute.sends import RULES
from tests.peers.archives import dcmqrscp
from tests.peers.processes import free_port, storescp_at


@pytest.fixture
def images(workplace: Workplace, instance: Instance) -> Workplace:
    for number in range(10):
        instance(f"data/{number}.dcm", InstanceNumber=number, Modality="CT")
    return workplace


@pytest.mark.parametrize("associations", [1, 4])
def test_what_was_sent_is_not_sent_again(images: Workplace, tmp_path: Path, associations: int) -> None:
    port = free_port()
    images.rules(RULES.format(port=port, associations=associations))
    with storescp_at(tmp_path / "received", port):
        assert images.run("echo", "peer").code == 0
        first = images.run("apply", "--json").summary
        assert (first["done"], first["failed"]) == (10, 0)
        assert len(list((tmp_path / "received").iterdir())) == 10
        again = images.run("apply", "--json").summary
        assert (again["done"], again["unchanged"]) == (0, 10)
    plan = images.run("plan", "--json").summary
    assert plan["reasons"] == {"unchanged:done": 10}


def test_an_instance_whose_file_changed_is_sent_again(images: Workplace, instance: Instance, tmp_path: Path) -> None:
    port = free_port()
    images.rules(RULES.format(port=port, associations=1))
    with storescp_at(tmp_path / "received", port):
        images.run("apply")
        path = images.folder / "data" / "3.dcm"
        os.utime(path, ns=(1, 1))
        assert images.run("plan", "--json").summary["reasons"] == {"unchanged:done": 9, "todo:source-changed": 1}
        assert images.run("apply", "--json").summary["done"] == 1


def test_a_node_that_is_not_there_fails_every_step_and_a_later_run_sends_them(
    images: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyconquest_rules.kinds.send.do.DELAYS", (0.0, 0.0, 0.0))
    port = free_port()
    images.rules(RULES.format(port=port, associations=1))
    done = images.run("apply", "--json")
    assert (done.code, done.summary["done"], done.summary["failed"]) == (1, 0, 10)
    assert "refuses the connection" in done.lines[-2]["message"]
    assert images.run("plan", "--json").summary["reasons"] == {"todo:retry": 10}
    assert images.run("echo", "peer").code == 1
    with storescp_at(tmp_path / "received", port):
        assert images.run("apply", "--json").summary["done"] == 10


@pytest.mark.parametrize("options", [["--refuse"], ["--abort-after"], ["--abort-during"], ["--sleep-during", "1"]])
def test_a_peer_that_never_gives_an_answer_has_nothing(
    images: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """And a run afterwards sends all of it."""
    monkeypatch.setattr("pyconquest_rules.kinds.send.do.DELAYS", ())
    port = free_port()
    rules = RULES.format(port=port, associations=1)
    images.rules(rules.replace("dimse_timeout = 5", "dimse_timeout = 0.3") if "--sleep-during" in options else rules)
    with storescp_at(tmp_path / "received", port, *options):
        broken = images.run("apply", "--json")
    assert (broken.code, broken.summary["done"], broken.summary["failed"]) == (1, 0, 10)
    assert images.run("plan", "--json").summary["reasons"] == {"todo:retry": 10}
    images.rules(rules)
    with storescp_at(tmp_path / "again", port):
        assert images.run("apply", "--json").summary["done"] == 10
    assert len(list((tmp_path / "again").iterdir())) == 10


def test_a_peer_that_rejects_who_has_no_implementation_class_takes_ours(images: Workplace, tmp_path: Path) -> None:
    port = free_port()
    images.rules(RULES.format(port=port, associations=1))
    with storescp_at(tmp_path / "received", port, "--reject"):
        assert images.run("apply", "--json").summary["done"] == 10


def test_two_actions_that_send_the_same_to_one_node_send_it_once(images: Workplace, tmp_path: Path) -> None:
    port = free_port()
    twice = RULES.format(port=port, associations=1) + '[send.too]\nselect = "slices"\nnode = "peer"\n'
    images.rules(twice)
    with storescp_at(tmp_path / "received", port):
        assert images.run("plan", "--json").summary["reasons"] == {"todo:new": 10, "unchanged:done": 10}
        assert images.run("apply", "--json").summary["done"] == 10


def test_an_unknown_node_is_told_with_a_way_out(images: Workplace) -> None:
    images.rules(RULES.format(port=1, associations=1))
    done = images.run("echo", "pear")
    assert done.code == 2
    assert 'did you mean "peer"?' in done.err


def test_what_the_node_finds_is_confirmed(images: Workplace) -> None:
    with dcmqrscp() as node:
        rules = RULES.format(port=node.port, associations=1).replace('"STORESCP"', f'"{node.ae_title}"')
        images.rules(rules + 'confirm = "c-find"\n')
        assert images.run("apply", "--json").summary["done"] == 10
        assert images.run("plan", "--json").summary["reasons"] == {"unchanged:done": 10}


def test_what_the_node_does_not_find_is_not_confirmed_nor_sent_again(images: Workplace, tmp_path: Path) -> None:
    port = free_port()
    images.rules(RULES.format(port=port, associations=1) + 'confirm = "c-find"\n')
    with storescp_at(tmp_path / "received", port):  # which knows no C-FIND
        first = images.run("apply", "--json")
        assert (first.code, first.summary["done"], first.summary["failed"]) == (1, 0, 10)
        received = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "received").iterdir()}
        assert images.run("plan", "--json").summary["reasons"] == {"todo:unconfirmed": 10}
        again = images.run("apply", "--json").summary
        assert (again["done"], again["failed"]) == (0, 10)
        assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "received").iterdir()} == received
