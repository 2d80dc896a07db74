"""Which actions are planned, in which order, and what holds back those that need others."""

import pytest

from tests.conftest import Instance, Workplace
from tests.plan.manual import SOURCE, action, listed


@pytest.fixture
def chain(workplace: Workplace, instance: Instance) -> Workplace:
    """`last` needs `second`, which needs `first`; `apart` needs none. The file has them in another order."""
    instance("data/1.dcm")
    workplace.rules(
        SOURCE
        + action("last", "last/x.dcm", needs=["copy.second"], tags=["nightly", "all"])
        + action("apart", "apart/x.dcm", tags=["all"])
        + action("second", "second/x.dcm", needs=["copy.first"])
        + action("first", "first/x.dcm")
    )
    return workplace


def actions(workplace: Workplace, *targets: str) -> list[str]:
    return [step["action"] for step in listed(workplace.run("plan", "--list", "--json", *targets))]


def test_actions_come_after_those_that_they_need(chain: Workplace) -> None:
    order = actions(chain)
    assert order.index("copy.first") < order.index("copy.second") < order.index("copy.last")


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["copy.apart"], ["copy.apart"]),
        (["copy.second"], ["copy.first", "copy.second"]),
        (["copy"], ["copy.apart", "copy.first", "copy.last", "copy.second"]),
        (["tag:nightly"], ["copy.first", "copy.last", "copy.second"]),
        (["tag:all"], ["copy.apart", "copy.first", "copy.last", "copy.second"]),
        (["copy.first", "copy.apart"], ["copy.apart", "copy.first"]),
    ],
    ids=["one", "with its needs", "a kind", "a tag", "a tag of two", "two"],
)
def test_targets_choose_actions_with_all_that_they_need(chain: Workplace, targets: list[str], expected: list[str]) -> None:
    assert sorted(actions(chain, *targets)) == expected


@pytest.mark.parametrize("command", ["plan", "apply", "status", "verify"])
@pytest.mark.parametrize("target", ["copy.frist", "tag:weekly", "tag:", "send", "first"])
def test_a_target_that_names_nothing_is_a_usage_error(chain: Workplace, command: str, target: str) -> None:
    assert chain.run("index").code == 0
    refused = chain.run(command, target)
    assert refused.code == 2
    assert f'unknown target "{target}"' in refused.err


def test_the_nearest_target_is_suggested(chain: Workplace) -> None:
    assert 'did you mean "copy.first"?' in chain.run("plan", "copy.frist").err


def test_an_action_with_blocked_steps_holds_back_those_that_need_it(chain: Workplace) -> None:
    (chain.folder / "first").mkdir()
    (chain.folder / "first/x.dcm").write_bytes(b"foreign")
    plan = chain.run("plan", "--list", "--json")
    assert plan.code == 1
    assert {step["action"]: (step["status"], step["reason"]) for step in listed(plan)} == {
        "copy.apart": ("todo", "new"),
        "copy.first": ("blocked", "conflict"),
        "copy.second": ("blocked", "needs"),
        "copy.last": ("blocked", "needs"),
    }
    applied = chain.run("apply", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["blocked"]) == (1, 1, 3)
    (chain.folder / "first/x.dcm").unlink()
    assert chain.run("apply", "--json").summary["done"] == 3


def test_an_action_with_failed_steps_holds_back_those_that_need_it(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules(
        SOURCE
        + action("first", "first/x.dcm", mode="reflink")
        + action("second", "second/x.dcm", needs=["copy.first"])
        + action("last", "last/x.dcm", needs=["copy.second"])
    )
    applied = workplace.run("apply", "--json")
    if applied.code == 0:
        pytest.skip("this file system can clone files")
    assert (applied.code, applied.summary["failed"], applied.summary["blocked"]) == (1, 1, 2)
    assert workplace.files("second") == workplace.files("last") == {}


def test_rules_without_actions_have_nothing_to_do(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules(SOURCE)
    assert workplace.run("apply").code == 0
    assert "nothing is selected" in workplace.run("plan").out
