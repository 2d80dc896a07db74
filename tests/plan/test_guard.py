"""Outputs that lost their files stop a run before anything is written, and what does not fit is said."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pyconquest_rules import app
from pyconquest_rules.disk import room
from tests.conftest import Instance, Workplace
from tests.plan.manual import SOURCE, action

RULES = "outputs = ['disk']\n" + SOURCE + action("export", "disk/{{ PatientID }}/{{ InstanceNumber }}.dcm")


@pytest.fixture
def exported(workplace: Workplace, instance: Instance) -> Workplace:
    """Four instances on a disk of their own, and one more that is not there yet."""
    for number in range(4):
        instance(f"data/{number}.dcm", InstanceNumber=number, PatientID=f"P{number % 2}")
    assert workplace.rules(RULES).run("apply").code == 0
    instance("data/new.dcm", InstanceNumber=9)
    return workplace


def missing(disk: Path) -> None:
    disk.rename(disk.with_name("away"))


def empty(disk: Path) -> None:
    missing(disk)
    disk.mkdir()


def only_what_a_desktop_left(disk: Path) -> None:
    empty(disk)
    (disk / "lost+found").mkdir()
    (disk / ".Trash-1000").mkdir()


def a_note_at_the_mount_point(disk: Path) -> None:
    empty(disk)
    (disk / "NOT MOUNTED").write_text("mount me")


def a_link_to_nowhere(disk: Path) -> None:
    missing(disk)
    disk.symlink_to("gone")


def a_file(disk: Path) -> None:
    missing(disk)
    disk.write_text("")


def most_of_it(disk: Path) -> None:
    shutil.rmtree(disk / "P0")
    (disk / "P1/1.dcm").unlink()


LOST: list[Callable[[Path], None]] = [
    missing,
    empty,
    only_what_a_desktop_left,
    a_note_at_the_mount_point,
    a_link_to_nowhere,
    a_file,
    most_of_it,
]


@pytest.mark.parametrize("lose", LOST)
def test_nothing_is_written_to_an_output_that_lost_its_files(exported: Workplace, lose: Callable[[Path], None]) -> None:
    lose(exported.folder / "disk")
    before = exported.files()
    for command in ("plan", "apply", "verify"):
        said = exported.run(command)
        assert said.code == 1
        assert f"output {exported.folder}/disk: " in said.err
        assert "of 4 files that were written there are gone" in said.err
        assert exported.files() == before
    plan = exported.run("plan", "--json").summary
    assert [(finding["finding"], finding["known"]) for finding in plan["findings"]] == [("vanished", 4)]
    assert exported.run("apply", "--json").summary["exit_code"] == 1
    assert exported.run("status").code == exported.run("explain", "data/1.dcm").code == 0


@pytest.mark.parametrize("lose", [missing, empty, only_what_a_desktop_left, a_note_at_the_mount_point, most_of_it])
def test_allow_vanish_says_that_it_is_meant_once(exported: Workplace, lose: Callable[[Path], None]) -> None:
    lose(exported.folder / "disk")
    assert exported.run("plan", "--allow-vanish").code == 0
    assert exported.run("plan", "--allow-vanish", "-o", "p").code == 0
    assert exported.run("apply", "--plan", "p").code == 0
    assert len([name for name in exported.files("disk") if name.endswith(".dcm")]) == 5
    assert exported.run("apply").code == 0


def test_half_of_the_files_may_go(exported: Workplace) -> None:
    shutil.rmtree(exported.folder / "disk/P0")
    assert exported.run("apply", "--json").summary["done"] == 3


def test_a_disk_beside_the_rules_file(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules(RULES.replace("outputs = ['disk']\n", ""))
    assert workplace.run("apply").code == 0
    empty(workplace.folder / "disk")
    assert "(the folder is empty)" in workplace.run("apply").err
    assert workplace.files("disk") == {}
    (workplace.folder / "disk").rmdir()  # somebody cleared it away
    assert workplace.run("apply").code == 0


def test_only_outputs_that_the_plan_writes_to_count(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules("outputs = ['one', 'two']\n" + SOURCE + action("one", "one/x.dcm") + action("two", "two/x.dcm"))
    assert workplace.run("apply").code == 0
    missing(workplace.folder / "two")
    assert workplace.run("apply", "copy.one").code == 0
    assert workplace.run("apply").code == 1
    assert not (workplace.folder / "two").exists()


def test_what_the_set_left_and_somebody_deleted_stops_nothing(exported: Workplace, instance: Instance) -> None:
    exported.rules(RULES.replace("disk/{{", "disk/v2/{{"))
    assert exported.run("apply").code == 0
    for patient in ("P0", "P1"):
        shutil.rmtree(exported.folder / "disk" / patient)
    instance("data/newer.dcm", InstanceNumber=10)
    assert exported.run("apply", "--json").summary["done"] == 1


def test_pruning_forgets_nothing_of_a_disk_that_is_not_there(exported: Workplace) -> None:
    exported.rules(RULES.replace('where = "1"', "where = \"PatientID = 'none'\"") + "prune = true\n")
    empty(exported.folder / "disk")
    assert exported.run("apply", "--allow-prune").code == 1
    assert exported.run("verify", "--json").summary["missing"] == 4


class Room:
    """What os.statvfs says of a disk with so many bytes free."""

    def __init__(self, free: int, blocks: int = 1000) -> None:
        self.f_bavail, self.f_frsize, self.f_blocks = free, 1, blocks


@pytest.mark.parametrize(
    ("options", "free", "fits"),
    [
        ({}, 10_000, False),
        ({}, 10_000_000, True),
        ({"mode": "hardlink"}, 0, True),
        ({"mode": "symlink"}, 0, True),
        ({"mode": "reflink"}, 0, True),
        ({"mode": "move"}, 0, True),  # within one file system
    ],
)
def test_room(
    workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], free: int, fits: bool
) -> None:
    for number in range(5):
        instance(f"data/{number}.dcm", InstanceNumber=number, pixels=bytes(10_000))
    workplace.rules("outputs = ['disk']\n" + SOURCE + action("export", "disk/{{ InstanceNumber }}.dcm", **options))
    monkeypatch.setattr(os, "statvfs", lambda _: Room(free))
    plan = workplace.run("plan")
    assert plan.code == (0 if fits else 1)
    assert ("are to be written, but only 10.0 kB are free" in plan.err) is not fits
    findings = workplace.run("plan", "--json").summary["findings"]
    assert [finding["finding"] for finding in findings] == ([] if fits else ["no-room"])


def test_what_is_replaced_frees_its_room_and_an_unknown_size_is_no_finding(
    workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance("data/1.dcm", InstanceNumber=1, pixels=bytes(10_000))
    workplace.rules("outputs = ['disk']\n" + SOURCE + action("export", "disk/{{ InstanceNumber }}.dcm"))
    assert workplace.run("apply").code == 0
    os.utime(workplace.folder / "data/1.dcm", ns=(0, 0))
    monkeypatch.setattr(os, "statvfs", lambda _: Room(0))
    assert workplace.run("plan").code == 0
    instance("data/2.dcm", InstanceNumber=2, pixels=bytes(10_000))
    assert workplace.run("plan").code == 1
    warned = workplace.run("apply", "--json")
    assert warned.lines[0]["finding"] == "no-room"
    assert warned.summary["done"] == 2  # what fits is done, and here it did
    monkeypatch.setattr(os, "statvfs", lambda _: Room(0, 0))
    instance("data/3.dcm", InstanceNumber=3, pixels=bytes(10_000))
    assert workplace.run("plan").code == 0


def test_a_move_to_another_file_system_takes_room(
    workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance("data/1.dcm", InstanceNumber=1, pixels=bytes(10_000))
    workplace.rules("outputs = ['disk']\n" + SOURCE + action("export", "disk/{{ InstanceNumber }}.dcm", mode="move"))
    assert workplace.run("index").code == 0
    monkeypatch.setattr(app.planning, "device", lambda path: 1 if isinstance(path, bytes) else 2)
    monkeypatch.setattr(room, "device", lambda path: 1 if isinstance(path, bytes) else 2)
    monkeypatch.setattr(os, "statvfs", lambda _: Room(0))
    assert workplace.run("plan", "--no-index").code == 1
