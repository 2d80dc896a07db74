"""A kind may make one file of many instances: planned, made, verified, repaired and pruned like any other file."""

import signal
from functools import partial
from pathlib import Path

import pydicom
import pytest

from pyconquest_rules.kinds import all as list_of_kinds
from tests.conftest import Instance, Workplace
from tests.kinds import running
from tests.kinds.bundle import BundleKind

NUMBER = 6
RULES = """
[sources.archive]
path = "data"

[select.scans]
level = "image"
where = "Modality = 'CT'"

[bundle.subjects]
select = "scans"
to = "bundles/{{ PatientID }}.bin"
"""
program = partial(running.program, "from tests.kinds.bundle import BundleKind; list_of_kinds.ACTIONS += (BundleKind(),)")


@pytest.fixture
def bundling(workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A workplace with three instances of each of two patients, in a program that has the kind."""
    monkeypatch.setattr(list_of_kinds, "ACTIONS", (*list_of_kinds.ACTIONS, BundleKind()))
    for number in range(NUMBER):
        instance(f"data/{number}.dcm", InstanceNumber=number, PatientID=f"P{number % 2}")
    return workplace.rules(RULES)


def reasons(bundling: Workplace, *options: str) -> dict[str, int]:
    found: dict[str, int] = bundling.run("plan", *options, "--json").summary["reasons"]
    return found


def expected(bundling: Workplace) -> dict[str, bytes]:
    """The bundles, made of the files of `data` as pydicom reads them."""
    made = dict[str, bytes]()
    files = sorted((bundling.folder / "data").glob("*.dcm"), key=lambda file: str(pydicom.dcmread(file).SOPInstanceUID))
    for file in files:
        instance, data = pydicom.dcmread(file), file.read_bytes()
        name = f"{instance.PatientID}.bin"
        made[name] = made.get(name, b"") + f"v1 {instance.SOPInstanceUID}.dcm {len(data)}\n".encode() + data
    return made


def change(file: Path) -> None:
    changed = pydicom.dcmread(file)
    changed.StudyDescription = "corrected"
    changed.save_as(file)


def test_a_file_is_made_of_many_instances_once(bundling: Workplace) -> None:
    assert reasons(bundling) == {"todo:new": 2}
    assert bundling.run("apply", "--json").summary["bundled"] == 2
    assert bundling.files("bundles") == expected(bundling)
    assert reasons(bundling) == {"unchanged:done": 2}
    assert bundling.run("verify", "--deep", "--json").summary["ok"] == 2


def test_only_the_file_with_a_changed_added_or_removed_part_is_made_again(bundling: Workplace, instance: Instance) -> None:
    bundling.run("apply")
    change(bundling.folder / "data/3.dcm")
    assert reasons(bundling) == {"todo:source-changed": 1, "unchanged:done": 1}
    instance("data/8.dcm", InstanceNumber=8, PatientID="P0")
    (bundling.folder / "data/1.dcm").unlink()
    assert bundling.run("apply", "--json").summary["bundled"] == 2
    assert bundling.files("bundles") == expected(bundling)


def test_what_is_there_already_is_adopted_or_a_conflict(bundling: Workplace) -> None:
    bundling.run("apply")
    (bundling.folder / ".pyconquest-rules/state.db").unlink()
    (bundling.folder / "bundles/P0.bin").write_bytes(b"something else")
    assert reasons(bundling) == {"todo:adopt": 1, "blocked:conflict": 1}
    assert bundling.run("apply", "--json").summary["adopted"] == 1


def test_what_somebody_changed_is_repaired(bundling: Workplace) -> None:
    bundling.run("apply")
    (bundling.folder / "bundles/P0.bin").write_bytes(b"something else")
    (bundling.folder / "bundles/P1.bin").unlink()
    assert bundling.run("verify", "--repair", "--json").summary["unmended"] == 0
    assert bundling.run("apply", "--json").summary["bundled"] == 2
    assert bundling.files("bundles") == expected(bundling)


def test_a_file_that_is_no_longer_requested_is_pruned(bundling: Workplace) -> None:
    bundling.rules(RULES + "prune = true\n").run("apply")
    for file in (bundling.folder / "data").glob("*.dcm"):
        if pydicom.dcmread(file).PatientID == "P1":
            file.unlink()
    assert bundling.run("apply", "--json").summary["removed"] == 1
    assert bundling.files("bundles") == expected(bundling)


def test_a_part_that_changes_meanwhile_fails_its_file_alone(bundling: Workplace) -> None:
    bundling.run("index")
    change(bundling.folder / "data/2.dcm")
    result = bundling.run("apply", "--no-index", "--json")
    assert (result.code, result.summary["bundled"], result.summary["failed"]) == (1, 1, 1)
    assert "the source changed since it was indexed" in result.out
    assert [*bundling.files("bundles")] == ["P1.bin"]


def test_a_saved_plan_has_its_parts(bundling: Workplace) -> None:
    bundling.run("plan", "-o", "saved.plan")
    assert bundling.run("apply", "--plan", "saved.plan", "--json").summary["bundled"] == 2
    assert bundling.files("bundles") == expected(bundling)


def test_a_move_waits_for_the_files_that_its_instances_are_parts_of(bundling: Workplace) -> None:
    move = '\n[copy.away]\nselect = "scans"\nto = "away/{{ SOPInstanceUID }}.dcm"\nmode = "move"\n'
    bundling.rules(RULES + move)
    assert reasons(bundling) == {"todo:new": 2, "blocked:collision": NUMBER}
    bundling.rules(RULES + move + 'needs = ["bundle.subjects"]\n')
    wanted = expected(bundling)
    assert bundling.run("apply", "--json").summary["done"] == 2 + NUMBER
    assert bundling.files("bundles") == wanted
    assert len(bundling.files("away")) == NUMBER


@pytest.mark.parametrize(
    "kill", [("os", "fsync", 1), ("os", "fsync", 4), ("Ledger", "intend_to_place", 1), ("Ledger", "record", 1)]
)
def test_a_killed_run_loses_nothing(bundling: Workplace, kill: tuple[str, str, int]) -> None:
    assert program(bundling.folder, "apply", kill=kill).returncode == -signal.SIGKILL
    assert program(bundling.folder, "apply").returncode == 0
    assert bundling.files("bundles") == expected(bundling)
    assert not [*(bundling.folder / "bundles").glob(".*")]
