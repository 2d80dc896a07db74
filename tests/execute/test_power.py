"""Power may fail at any moment: what the ledger says was done, the disk holds."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace, needs
from tests.execute.power import Disk
from tests.plan.manual import copies

TO = "export/{{ PatientID }}/{{ SeriesDescription }}/{{ InstanceNumber }}.dcm"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    needs("/proc/self/fd", os.path.isdir("/proc/self/fd"))
    return Disk(tmp_path, monkeypatch)


@pytest.fixture
def thirty(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with thirty instances in three series of two patients, indexed."""
    for number in range(30):
        of = {"PatientID": f"P{number % 2}", "SeriesDescription": f"S{number % 3}", "SeriesInstanceUID": f"1.2.{number % 6}"}
        instance(f"data/{number}.dcm", InstanceNumber=number, StudyInstanceUID=f"1.3.{number % 2}", **of)
    workplace.rules(copies(TO)).run("index")
    return workplace


@pytest.mark.parametrize("mode", ["copy", "hardlink", "symlink", "move"])
def test_a_row_comes_after_the_file_and_all_folders_that_lead_to_it_are_durable(thirty: Workplace, disk: Disk, mode: str) -> None:
    assert thirty.rules(copies(TO, mode=mode)).run("apply", "--json").summary["done"] == 30
    assert len(disk.rows) == 30


def test_an_output_that_was_missing_is_durable_too(thirty: Workplace, disk: Disk) -> None:
    thirty.rules(f'outputs = ["far/out"]\n{copies("far/out/{{ InstanceNumber }}.dcm")}')
    assert thirty.run("apply", "--json").summary["done"] == 30
    assert len(disk.rows) == 30


def test_what_is_replaced_is_durable_before_its_row(thirty: Workplace, disk: Disk) -> None:
    for number in range(30):
        (thirty.folder / f"export/P{number % 2}/S{number % 3}").mkdir(parents=True, exist_ok=True)
        (thirty.folder / f"export/P{number % 2}/S{number % 3}/{number}.dcm").write_bytes(b"old")
    assert thirty.rules(copies(TO, on_conflict="overwrite")).run("apply", "--json").summary["done"] == 30
    assert len(disk.rows) == 30


def test_what_is_adopted_is_made_durable_by_whomever_it_was_put_there(thirty: Workplace, disk: Disk) -> None:
    assert thirty.run("apply").code == 0
    shutil.rmtree(thirty.folder / ".pyconquest-rules")
    disk.folders.clear()
    disk.files.clear()
    assert thirty.run("plan", "--json").summary["reasons"] == {"todo:adopt": 30}
    assert thirty.run("apply", "--json").summary["done"] == 30
    assert len(disk.rows) == 60


def test_a_folder_that_cannot_be_made_durable_fails_all_that_was_put_there_and_nothing_else(
    thirty: Workplace, disk: Disk
) -> None:
    disk.fails = "export/P1/S2"
    applied = thirty.run("apply")
    assert applied.code == 1
    assert "Input/output error" in applied.err
    assert len(disk.rows) == 25
    assert not [row for row in disk.rows if row.startswith("export/P1/S2/")]
    disk.fails = ""
    assert thirty.run("plan", "--json").summary["reasons"] == {"unchanged:done": 25, "todo:adopt": 5}
    assert thirty.run("apply", "--json").summary["unchanged"] == 30
    assert thirty.run("verify", "--deep").code == 0


def test_a_folder_above_that_cannot_be_made_durable_fails_all_below_it(thirty: Workplace, disk: Disk) -> None:
    disk.fails = "export"
    assert thirty.run("apply", "--json").summary["failed"] == 30
    assert disk.rows == []
    assert thirty.run("apply", "--json").summary["failed"] == 30
    disk.fails = ""
    assert thirty.run("apply", "--json").summary["unchanged"] == 30
