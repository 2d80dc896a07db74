"""A plan that was saved is done as it was shown, or refused because something changed since."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace
from tests.plan.manual import BY_NUMBER, SOURCE, action, copies


@pytest.fixture
def saved(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace where one of two instances was copied, and a plan for the rest was saved."""
    instance("data/1.dcm", InstanceNumber=1)
    workplace.rules(copies())
    assert workplace.run("apply").code == 0
    instance("data/2.dcm", InstanceNumber=2)
    assert workplace.run("plan", "-o", "p").code == 0
    return workplace


def test_a_saved_plan_is_done(saved: Workplace) -> None:
    applied = saved.run("apply", "--plan", "p", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["unchanged"]) == (0, 1, 1)
    assert sorted(saved.files("export")) == ["P1/1.dcm", "P1/2.dcm"]


def test_a_plan_that_was_done_is_stale(saved: Workplace) -> None:
    assert saved.run("apply", "--plan", "p").code == 0
    assert saved.run("apply", "--plan", "p").code == 5


Change = Callable[[Path], object]


def touch(path: str) -> Change:
    return lambda folder: os.utime(folder / path, ns=(1, 1))


def remove(path: str) -> Change:
    return lambda folder: (folder / path).unlink()


def edit(to: str = BY_NUMBER, **options: object) -> Change:
    return lambda folder: (folder / "rules.toml").write_text("rules_version = 1\n" + copies(to, **options), "utf-8")


def put(path: str) -> Change:
    return lambda folder: (folder / path).write_bytes(b"new")


@pytest.mark.parametrize(
    "change",
    [
        touch("data/2.dcm"),
        remove("data/2.dcm"),
        edit(mode="hardlink"),
        edit(to="export/{{ InstanceNumber }}.dcm"),
        edit(on_conflict="skip", to="export/new/{{ InstanceNumber }}.dcm"),
        lambda folder: (folder / "rules.toml").write_text("rules_version = 1\n" + SOURCE, "utf-8"),
        touch("export/P1/1.dcm"),
        remove("export/P1/1.dcm"),
        put("export/P1/2.dcm"),
    ],
    ids=[
        "source replaced",
        "source gone",
        "mode edited",
        "template edited",
        "rule edited",
        "rule gone",
        "destination touched",
        "destination gone",
        "destination taken",
    ],
)
def test_a_plan_is_stale_after_a_change_and_nothing_is_written(saved: Workplace, change: Change) -> None:
    change(saved.folder)
    before = saved.files("export")
    refused = saved.run("apply", "--plan", "p")
    assert refused.code == 5
    assert "plan again" in refused.err
    assert saved.files("export") == before


def test_a_new_instance_makes_the_plan_stale(saved: Workplace, instance: Instance) -> None:
    instance("data/3.dcm", InstanceNumber=3)
    assert saved.run("apply", "--plan", "p").code == 5
    assert saved.run("apply", "--plan", "p", "--no-index").code == 5


def test_what_changes_nothing_leaves_the_plan_good(saved: Workplace) -> None:
    (saved.folder / "rules.toml").write_text("# a comment\nrules_version = 1\n" + copies(), "utf-8")
    (saved.folder / "export/P1/unrelated").write_bytes(b"foreign")
    assert saved.run("apply", "--plan", "p").code == 0


def test_a_plan_of_some_targets_does_these_alone(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules(SOURCE + action("one", "one/x.dcm") + action("other", "other/x.dcm"))
    assert workplace.run("plan", "copy.other", "-o", "p").code == 0
    assert workplace.run("apply", "--plan", "p", "--json").summary["done"] == 1
    assert sorted(workplace.files("other")) == ["x.dcm"]
    assert workplace.files("one") == {}


def test_a_saved_plan_has_its_targets_already(saved: Workplace) -> None:
    refused = saved.run("apply", "--plan", "p", "copy.export")
    assert refused.code == 2
    assert "leave them out" in refused.err


def truncated(file: Path) -> bytes:
    data = file.read_bytes()
    return data[: len(data) // 2]


def other_database(file: Path) -> bytes:
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE format (text TEXT)")
    return file.read_bytes()


@pytest.mark.parametrize(
    "content",
    [lambda _: b"", lambda _: b"rules_version = 1\n" * 100, truncated, other_database],
    ids=["empty", "text", "cut", "another database"],
)
def test_a_file_that_is_no_plan_is_a_usage_error(saved: Workplace, content: Callable[[Path], bytes]) -> None:
    file = saved.folder / "p"
    file.write_bytes(content(file))
    refused = saved.run("apply", "--plan", "p")
    assert refused.code == 2
    assert "is not a plan" in refused.err
    assert len(saved.files("export")) == 1


def test_a_plan_that_is_not_there_is_a_usage_error(saved: Workplace) -> None:
    assert saved.run("apply", "--plan", "nowhere").code == 2


def test_a_plan_that_cannot_be_saved_is_a_usage_error(saved: Workplace) -> None:
    refused = saved.run("plan", "-o", "nowhere/p")
    assert refused.code == 2
    assert "cannot write nowhere/p: there is no folder nowhere" in refused.err


def test_saving_leaves_nothing_beside_the_plan(saved: Workplace) -> None:
    assert saved.run("plan", "-o", "p").code == 0
    assert sorted(saved.files()) == ["data/1.dcm", "data/2.dcm", "export/P1/1.dcm", "p", "rules.toml"]


def test_a_plan_with_blocked_steps_can_be_saved_and_done(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", InstanceNumber=1)
    instance("data/2.dcm", PatientID=None)
    workplace.rules(copies())
    assert workplace.run("plan", "-o", "p").code == 1
    applied = workplace.run("apply", "--plan", "p", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["blocked"]) == (1, 1, 1)
