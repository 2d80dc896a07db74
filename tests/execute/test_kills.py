"""A run that is killed at a moment we choose, between one thing and the next: the next run does exactly the rest."""

import pytest

from tests.conftest import Instance, Workplace
from tests.execute.processes import kill
from tests.plan.manual import copies

NUMBER = 50
TO = "export/{{ InstanceNumber }}.dcm"


@pytest.fixture
def fifty(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with fifty instances."""
    for number in range(NUMBER):
        instance(f"data/{number}.dcm", InstanceNumber=number, pixels=bytes(20_000))
    return workplace.rules(copies(TO))


MOMENTS = [
    ("os.readv", 30),  # a file is half written
    ("os.fsync", 1),  # all of a group are written, none is durable
    ("os.fsync", 12),
    ("os.link", 1),  # they are durable, none has its name
    ("os.link", 12),
    ("os.unlink", 1),  # the first has two names
    ("os.unlink", 12),
    ("Ledger.record", 1),  # a group has its names and is durable, the ledger knows nothing
    ("Ledger.record", 4),
    ("Runs.finish", 1),  # all is done but to say so
]


@pytest.mark.parametrize(("function", "call"), MOMENTS)
def test_a_killed_copy_is_gone_on_with(fifty: Workplace, function: str, call: int) -> None:
    kill(fifty, function, call)
    sources, placed = fifty.files("data"), fifty.files("export")
    whole = {name: data for name, data in placed.items() if name.endswith(".dcm")}
    assert all(data == sources[name] for name, data in whole.items())
    reasons = fifty.run("plan", "--json").summary["reasons"]
    done, adopt = reasons.get("unchanged:done", 0), reasons.get("todo:adopt", 0)
    assert (done + adopt, reasons.get("todo:new", 0)) == (len(whole), NUMBER - len(whole))
    assert fifty.run("apply", "--json").summary["done"] == NUMBER - done
    assert fifty.files("export") == sources
    assert fifty.run("verify", "--deep", "--json").summary["ok"] == NUMBER
    assert fifty.run("plan", "--detailed-exitcode").code == 0


@pytest.mark.parametrize(
    ("function", "call"), [*MOMENTS, ("copying.take_away", 1), ("copying.take_away", 12), ("applying.forget_moved", 1)]
)
def test_a_killed_move_loses_nothing_and_is_gone_on_with(fifty: Workplace, function: str, call: int) -> None:
    before = fifty.files("data")
    fifty.rules(copies(TO, mode="move"))
    kill(fifty, function, call)
    assert {**fifty.files("data"), **{name: data for name, data in fifty.files("export").items() if name in before}} == before
    assert fifty.run("apply", "--json").code == 0
    assert (fifty.files("data"), fifty.files("export")) == ({}, before)
    assert fifty.run("apply", "--json").summary["done"] == 0
    assert fifty.run("verify", "--deep", "--json").summary["ok"] == NUMBER


PRUNING = [
    ("os.readv", 10),  # some were compared, none is removed
    ("os.unlink", 1),  # the first was compared
    ("os.unlink", 12),
    ("os.fsync", 1),  # a group is gone, not yet for good
    ("os.fsync", 2),
    ("Ledger.record", 1),  # a group is gone for good, the ledger knows it still
    ("Ledger.record", 2),
    ("Runs.finish", 1),
]


@pytest.mark.parametrize(("function", "call"), PRUNING)
def test_a_killed_prune_is_gone_on_with(fifty: Workplace, function: str, call: int) -> None:
    assert fifty.run("apply").code == 0
    stay = {name: data for name, data in fifty.files("data").items() if int(name.removesuffix(".dcm")) >= NUMBER // 2}
    fifty.rules(copies(TO).replace('where = "1"', f'where = "InstanceNumber >= {NUMBER // 2}"') + "prune = true\n")
    kill(fifty, function, call)
    placed = fifty.files("export")
    assert stay.items() <= placed.items()
    left = fifty.run("plan", "--json")
    assert (left.code, left.summary["unchanged"]) == (0, len(stay))
    assert left.summary["todo"] >= len(placed) - len(stay)
    assert fifty.run("apply", "--json").summary["done"] == left.summary["todo"]
    assert fifty.files("export") == stay
    assert len(fifty.files("data")) == NUMBER
    assert fifty.run("verify", "--deep", "--json").summary["ok"] == len(stay)
    assert fifty.run("plan", "--detailed-exitcode").code == 0
