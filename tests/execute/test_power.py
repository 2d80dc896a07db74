"""Power may fail at any moment: what the ledger says was done, the disk holds."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from pyconquest_rules.disk.files import Put, StepError
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.steps import Step
from tests.conftest import Instance, Workplace, needs
from tests.plan.manual import copies

TO = "export/{{ PatientID }}/{{ SeriesDescription }}/{{ InstanceNumber }}.dcm"


class Disk:
    """What would still be there if the power failed now: of a folder the names, of a file the bytes, when last synced."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.fsync, self.fails = root, os.fsync, ""
        self.folders: dict[int, list[str]] = {}
        self.files: dict[int, bytes] = {}
        self.rows: list[str] = []
        record = Ledger.record

        def checked(ledger: Ledger, outcomes: Iterable[tuple[Step, Put | StepError]], run: int) -> None:
            outcomes = [*outcomes]
            for step, outcome in outcomes:
                if isinstance(outcome, Put):
                    self.rows.append(step.operation.destination)
                    assert self.holds(step.operation.destination), f"{step.operation.destination} is recorded, but not durable"
            record(ledger, outcomes, run)

        monkeypatch.setattr(os, "fsync", self.synced)
        monkeypatch.setattr(Ledger, "record", checked)

    def synced(self, descriptor: int) -> None:
        if self.fails and os.readlink(f"/proc/self/fd/{descriptor}").endswith(self.fails):
            raise OSError(5, "Input/output error")
        self.fsync(descriptor)
        status = os.fstat(descriptor)
        if os.path.isdir(descriptor):
            self.folders[status.st_ino] = os.listdir(descriptor)
        else:
            self.files[status.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def holds(self, destination: str) -> bool:
        path = self.root
        for name in destination.split("/"):
            if name not in self.folders.get(path.stat().st_ino, []):
                return False
            path /= name
        return path.is_symlink() or path.stat().st_nlink > 1 or self.files.get(path.stat().st_ino) == path.read_bytes()


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
