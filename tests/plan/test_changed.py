"""What somebody changed at a destination: shown apart, never replaced unless `on_changed` or `verify --repair` asks for it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace
from tests.plan.manual import copies, planned
from tests.plan.replaced import changed_by_a_byte, replaced

FIRST = "export/P1/1.dcm"


@pytest.fixture
def exported(workplace: Workplace, instance: Instance) -> Workplace:
    """Three instances that were copied."""
    for number in (1, 2, 3):
        instance(f"data/{number}.dcm", InstanceNumber=number, SOPInstanceUID=f"1.2.{number}", pixels=bytes(64))
    assert workplace.rules(copies()).run("apply").code == 0
    return workplace


def append(file: Path) -> None:
    with file.open("ab") as changed:
        changed.write(b"a note")


def empty(file: Path) -> None:
    file.write_bytes(b"")


def text(file: Path) -> None:
    replaced(file, b"another file altogether")


def another_instance(file: Path) -> None:
    replaced(file, (file.parent / "2.dcm").read_bytes())


def a_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("2.dcm")


CHANGES: list[Callable[[Path], None]] = [changed_by_a_byte, append, empty, text, another_instance, a_link]


@pytest.mark.parametrize("change", CHANGES)
def test_what_somebody_changed_is_blocked_shown_apart_and_stays(exported: Workplace, change: Callable[[Path], None]) -> None:
    change(exported.folder / FIRST)
    before = exported.files("export")
    assert planned(exported) == {FIRST: ("blocked", "destination-changed")}
    plan = exported.run("plan", "--list")
    assert plan.code == 1
    assert plan.out.startswith(f"~ copy.export {FIRST}  (destination-changed: somebody changed it")
    applied = exported.run("apply", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["blocked"]) == (1, 0, 1)
    assert exported.files("export") == before


@pytest.mark.parametrize("change", CHANGES)
def test_restore_puts_it_there_again(exported: Workplace, change: Callable[[Path], None]) -> None:
    before = exported.files("export")
    change(exported.folder / FIRST)
    exported.rules(copies(on_changed="restore"))
    assert f"~ copy.export {FIRST}  (destination-changed)" in exported.run("plan", "--list").out
    assert exported.run("apply").code == 0
    assert exported.files("export") == before
    assert planned(exported) == {}


@pytest.mark.parametrize("change", CHANGES)
def test_repair_restores_it_whatever_on_changed_says(exported: Workplace, change: Callable[[Path], None]) -> None:
    before = exported.files("export")
    change(exported.folder / FIRST)
    repair = exported.run("verify", "--repair", "--json")
    assert (repair.summary["unmended"], repair.summary["plan"]["reasons"]["todo:destination-changed"]) == (0, 1)
    assert exported.run("apply", "--json").summary["done"] == 1
    assert exported.files("export") == before
    changed_by_a_byte(exported.folder / FIRST)  # one repair is not leave for the next
    assert planned(exported) == {FIRST: ("blocked", "destination-changed")}


def test_a_repair_replaces_only_what_verify_saw(exported: Workplace) -> None:
    append(exported.folder / FIRST)
    assert exported.run("verify", "--repair").code == 1
    text(exported.folder / FIRST)
    assert planned(exported) == {FIRST: ("blocked", "destination-changed")}
    assert exported.run("apply").code == 1
    assert (exported.folder / FIRST).read_bytes() == b"another file altogether"


def test_a_change_on_both_sides_is_blocked_too(exported: Workplace, instance: Instance) -> None:
    append(exported.folder / FIRST)
    instance("data/1.dcm", InstanceNumber=1, SOPInstanceUID="1.2.1", pixels=bytes(80))
    step = exported.run("plan", "--list", "--json").lines[0]
    assert (step["status"], step["reason"]) == ("blocked", "destination-changed")
    assert "its source changed too" in step["message"]
    exported.rules(copies(on_changed="restore"))
    assert exported.run("apply").code == 0
    assert exported.files("export")["P1/1.dcm"] == exported.files("data")["1.dcm"]


def test_a_destination_that_was_only_touched_follows_its_source_and_its_rule(exported: Workplace, instance: Instance) -> None:
    for number in (1, 2, 3):
        os.utime(exported.folder / f"export/P1/{number}.dcm", ns=(0, 0))
    instance("data/1.dcm", InstanceNumber=1, SOPInstanceUID="1.2.1", pixels=bytes(80))
    assert planned(exported)[FIRST] == ("todo", "source-changed")
    exported.rules(copies(mode="hardlink"))
    assert planned(exported)["export/P1/2.dcm"] == ("todo", "rule-changed")


def test_a_missing_destination_is_still_made_again(exported: Workplace) -> None:
    (exported.folder / FIRST).unlink()
    assert planned(exported) == {FIRST: ("todo", "destination-missing")}
    shutil.rmtree(exported.folder / "export")
    assert exported.run("apply", "--json").summary["done"] == 3


def test_a_saved_plan_is_stale_once_on_changed_or_the_file_is_another(exported: Workplace) -> None:
    append(exported.folder / FIRST)
    assert exported.run("plan", "-o", "p").code == 1
    assert exported.run("apply", "--plan", "p", "--json").summary["blocked"] == 1
    exported.rules(copies(on_changed="restore"))
    assert exported.run("apply", "--plan", "p").code == 5
    assert exported.run("plan", "-o", "q").code == 0
    text(exported.folder / FIRST)
    assert exported.run("apply", "--plan", "q").code == 5
    assert (exported.folder / FIRST).read_bytes() == b"another file altogether"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("on_changed = 'replace'", "rules.toml:13:14"),
        ("on_changed = true", "rules.toml:13:14"),
        ("on_change = 'restore'", 'did you mean "on_changed"'),
        ("mode = 'move'\non_changed = 'restore'", "cannot restore"),
        ("on_changed = ''", "rules.toml:13:14"),
    ],
)
def test_check(workplace: Workplace, line: str, said: str) -> None:
    checked = workplace.rules(copies() + line).run("check")
    assert checked.code == 2
    assert said in checked.err
