"""Why a step is to be done, why it is not, and why it cannot be: each status and reason as `plan` shows it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace
from tests.plan.manual import copies, planned
from tests.plan.replaced import changed_by_a_byte


@pytest.fixture
def exported(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with two instances that were copied."""
    instance("data/1.dcm", InstanceNumber=1, pixels=bytes(8))
    instance("data/2.dcm", InstanceNumber=2, pixels=bytes(8))
    workplace.rules(copies())
    assert workplace.run("apply").code == 0
    return workplace


FIRST = "export/P1/1.dcm"


def test_new(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", InstanceNumber=1)
    workplace.rules(copies())
    assert planned(workplace) == {FIRST: ("todo", "new")}
    assert workplace.files("export") == {}


def test_done_is_unchanged_and_not_listed(exported: Workplace) -> None:
    plan = exported.run("plan", "--list", "--json", "--detailed-exitcode")
    assert plan.code == 0
    assert plan.lines == [plan.summary]
    assert plan.summary["reasons"] == {"unchanged:done": 2}
    assert plan.summary["actions"]["copy.export"] == {"todo": 0, "unchanged": 2, "blocked": 0, "bytes": 0}


def test_source_changed(exported: Workplace, instance: Instance) -> None:
    new = instance("data/1.dcm", InstanceNumber=1, PatientName="Doe^John", SOPInstanceUID="1.2.826.0.1.3680043.10.1.1")
    assert planned(exported) == {FIRST: ("todo", "source-changed")}
    assert exported.run("apply", "--json").summary["done"] == 1
    assert exported.files("export")["P1/1.dcm"] == new.read_bytes()
    assert planned(exported) == {}


def test_a_touched_source_is_copied_again_as_its_bytes_may_have_changed(exported: Workplace) -> None:
    os.utime(exported.folder / "data/1.dcm", ns=(0, 0))
    assert planned(exported) == {FIRST: ("todo", "source-changed")}
    assert exported.run("apply").code == 0
    assert (exported.folder / FIRST).stat().st_mtime_ns == 0


def test_rule_changed(exported: Workplace) -> None:
    exported.rules(copies(mode="hardlink"))
    assert planned(exported) == {"export/P1/1.dcm": ("todo", "rule-changed"), "export/P1/2.dcm": ("todo", "rule-changed")}


def test_what_does_not_decide_the_content_is_no_change_of_the_rule(exported: Workplace) -> None:
    exported.rules("# a comment\n" + copies(on_conflict="skip", tags=["nightly"]))
    assert planned(exported) == {}


def test_destination_missing(exported: Workplace) -> None:
    (exported.folder / FIRST).unlink()
    assert planned(exported) == {FIRST: ("todo", "destination-missing")}
    assert exported.run("apply", "--json").summary["done"] == 1
    assert (exported.folder / FIRST).exists()


def test_a_missing_folder_is_every_destination_in_it(exported: Workplace) -> None:
    shutil.rmtree(exported.folder / "export")
    assert set(planned(exported).values()) == {("todo", "destination-missing")}
    assert exported.run("apply").code == 0
    assert len(exported.files("export")) == 2


def test_destination_changed_by_one_byte(exported: Workplace) -> None:
    changed_by_a_byte(exported.folder / FIRST)
    assert planned(exported) == {FIRST: ("blocked", "destination-changed")}
    exported.rules(copies(on_changed="restore"))
    assert planned(exported) == {FIRST: ("todo", "destination-changed")}
    assert exported.run("apply", "--json").summary["done"] == 1
    assert exported.files("export")["P1/1.dcm"] == exported.files("data")["1.dcm"]


def test_adopt_where_a_destination_was_only_touched(exported: Workplace) -> None:
    os.utime(exported.folder / FIRST, ns=(0, 0))
    assert planned(exported) == {FIRST: ("todo", "adopt")}
    adopted = exported.run("apply", "--json").summary
    assert (adopted["done"], adopted["bytes"]) == (1, 0)
    assert (exported.folder / FIRST).stat().st_mtime_ns == 0
    assert planned(exported) == {}


def test_adopt_where_an_identical_file_stands_already(workplace: Workplace, instance: Instance) -> None:
    source = instance("data/1.dcm", InstanceNumber=1)
    destination = workplace.folder / FIRST
    destination.parent.mkdir(parents=True)
    shutil.copyfile(source, destination)
    before = destination.stat()
    workplace.rules(copies())
    assert planned(workplace) == {FIRST: ("todo", "adopt")}
    assert workplace.run("apply").code == 0
    assert (before.st_ino, before.st_mtime_ns) == (destination.stat().st_ino, destination.stat().st_mtime_ns)
    assert planned(workplace) == {}


def test_adopt_where_the_state_was_lost(exported: Workplace) -> None:
    shutil.rmtree(exported.folder / ".pyconquest-rules")
    assert set(planned(exported).values()) == {("todo", "adopt")}
    again = exported.run("apply", "--json").summary
    assert (again["done"], again["bytes"]) == (2, 0)
    assert planned(exported) == {}


def test_retry_after_a_step_that_failed(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", InstanceNumber=1)
    workplace.rules(copies(mode="reflink"))
    failed = workplace.run("apply", "--json")
    if failed.code == 0:
        pytest.skip("this file system can clone files")
    assert failed.summary["failed"] == 1
    assert planned(workplace) == {FIRST: ("todo", "retry")}
    workplace.rules(copies(mode="copy"))
    assert workplace.run("apply").code == 0
    assert planned(workplace) == {}


def test_missing_value(workplace: Workplace, instance: Instance) -> None:
    without = instance("data/1.dcm", InstanceNumber=1, PatientID=None, SOPInstanceUID="1.2.3")
    instance("data/2.dcm", InstanceNumber=2)
    workplace.rules(copies())
    plan = workplace.run("plan", "--list", "--json")
    assert plan.code == 1
    step = next(line for line in plan.lines if line.get("reason") == "missing-value")
    assert (step["SOPInstanceUID"], step["status"], step["message"]) == ("1.2.3", "blocked", "PatientID has no value")
    applied = workplace.run("apply", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["blocked"]) == (1, 1, 1)
    assert without.exists()


def test_unsafe_path(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", StudyDescription="x" * 250, SeriesDescription="y" * 250, SOPInstanceUID="1.2.3")
    workplace.rules(copies("export/" + "{{ StudyDescription }}/{{ SeriesDescription }}/" * 9 + "x.dcm"))
    plan = workplace.run("plan", "--list", "--json")
    assert plan.code == 1
    assert plan.lines[0]["reason"] == "unsafe-path"
    assert "longer than 4096 bytes" in plan.lines[0]["message"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / FIRST).unlink(), "destination-missing"),
        (lambda folder: changed_by_a_byte(folder / "data/1.dcm"), "source-changed"),
    ],
    ids=["one destination deleted", "one source replaced"],
)
def test_detailed_exitcode_is_0_and_after_a_change_3(exported: Workplace, change: Callable[[Path], None], reason: str) -> None:
    assert exported.run("plan", "--detailed-exitcode").code == 0
    change(exported.folder)
    plan = exported.run("plan", "--detailed-exitcode", "--json")
    assert plan.code == 3
    assert plan.summary["reasons"] == {f"todo:{reason}": 1, "unchanged:done": 1}


def test_detailed_exitcode_is_3_after_a_rule_was_edited(exported: Workplace) -> None:
    assert exported.run("plan", "--detailed-exitcode").code == 0
    exported.rules(copies(mode="symlink"))
    assert exported.run("plan", "--detailed-exitcode").code == 3


def test_the_plan_for_people_says_why_and_how_much(exported: Workplace) -> None:
    (exported.folder / FIRST).unlink()
    plan = exported.run("plan", "--list")
    assert "+ copy.export export/P1/1.dcm  (destination-missing)" in plan.out
    assert "todo               1  (destination-missing 1, " in plan.out
    assert "unchanged          1  (done 1)" in plan.out
