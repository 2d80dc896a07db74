"""File times that do not show a change: young ones in whole seconds, before 1970, after 2262, in the future."""

import os
from pathlib import Path
from time import time

import pytest

from tests.conftest import Instance, Workplace
from tests.plan.manual import SOURCE, copies

RULES = copies("export/{{ InstanceNumber }}.dcm")
SECOND = 1_000_000_000


def dated(file: Path, seconds: int) -> Path:
    """Give a file a time in whole seconds, as some file systems do."""
    os.utime(file, ns=(seconds * SECOND, seconds * SECOND))
    return file


class Clock:
    """The time that decides whether a file is young. It stands still until `go_on`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = int(time())
        for module in ("index.scan.scan", "index.store.csv_tables", "disk.files"):
            monkeypatch.setattr(f"pyconquest_rules.{module}.time_ns", lambda: self.now * SECOND)

    def go_on(self) -> None:
        self.now += 60


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_file_that_changes_within_its_second_is_read_again(workplace: Workplace, instance: Instance, clock: Clock) -> None:
    now = clock.now
    dated(instance("data/1.dcm", SOPInstanceUID="1.2.1", PatientID="P1"), now)
    dated(instance("data/old.dcm"), now - 3600)
    assert workplace.rules(RULES).run("index", "--json").summary["read"] == 2
    dated(instance("data/1.dcm", SOPInstanceUID="1.2.1", PatientID="P2"), now)
    clock.go_on()
    assert workplace.run("index", "--json").summary["read"] == 1
    assert workplace.run("query", "SELECT PatientID FROM images WHERE SOPInstanceUID = '1.2.1'").out.split()[-1] == "P2"
    assert workplace.run("index", "--json").summary["read"] == 0


def test_a_source_that_changes_within_its_second_is_copied_again(workplace: Workplace, instance: Instance, clock: Clock) -> None:
    now = clock.now
    dated(instance("data/1.dcm", SOPInstanceUID="1.2.1", InstanceNumber=1, PatientID="P1"), now)
    assert workplace.rules(RULES).run("apply", "--json").summary["done"] == 1
    dated(instance("data/1.dcm", SOPInstanceUID="1.2.1", InstanceNumber=1, PatientID="P2"), now)
    clock.go_on()
    assert workplace.run("plan", "--json").summary["reasons"] == {"todo:source-changed": 1}
    assert workplace.run("apply", "--json").summary["done"] == 1
    assert workplace.files("export") == workplace.files("data")
    assert workplace.run("apply", "--json").summary["unchanged"] == 1


def test_a_destination_that_changes_within_its_second_is_seen(workplace: Workplace, instance: Instance, clock: Clock) -> None:
    now = clock.now
    dated(instance("data/1.dcm", InstanceNumber=1), now)
    assert workplace.rules(RULES).run("apply", "--json").summary["done"] == 1
    file = workplace.folder / "export/1.dcm"
    file.write_bytes(bytes(file.stat().st_size))
    dated(file, now)
    clock.go_on()
    assert workplace.run("verify", "--json").summary["changed"] == 1
    assert workplace.run("plan", "--json").summary["reasons"] == {"blocked:destination-changed": 1}


def test_a_young_file_that_did_not_change_is_compared_once(workplace: Workplace, instance: Instance, clock: Clock) -> None:
    dated(instance("data/1.dcm", InstanceNumber=1), clock.now)
    assert workplace.rules(RULES).run("apply").code == 0
    clock.go_on()
    again = workplace.run("apply", "--json").summary
    assert (again["done"], again["bytes"]) == (1, 0)
    assert workplace.run("apply", "--json").summary["unchanged"] == 1


def test_a_csv_file_that_changes_within_its_second_is_read_again(workplace: Workplace, instance: Instance, clock: Clock) -> None:
    instance("data/1.dcm")
    now, file = clock.now, workplace.folder / "cohort.csv"
    file.write_text("PatientID\nP1\n")
    dated(file, now)
    workplace.rules(f'{SOURCE}[tables.cohort]\ncsv = "cohort.csv"\n').run("index")
    file.write_text("PatientID\nP2\n")
    dated(file, now)
    workplace.run("index")
    assert workplace.run("query", "SELECT PatientID FROM cohort").out.split()[-1] == "P2"


@pytest.mark.parametrize("year", [1902, 1969, 1970, 2038, 2099, 2263, 2300])
@pytest.mark.parametrize("mode", ["copy", "hardlink", "move"])
def test_no_mtime_makes_every_run_read_a_file_again(workplace: Workplace, instance: Instance, year: int, mode: str) -> None:
    file = dated(instance("data/1.dcm", InstanceNumber=1), (year - 1970) * 31_556_952)
    if abs(file.stat().st_mtime - (year - 1970) * 31_556_952) > 1:
        pytest.skip("the file system has no such time")
    data = file.read_bytes()
    workplace.rules(copies("export/{{ InstanceNumber }}.dcm", mode=mode))
    assert workplace.run("apply", "--json").summary["done"] == 1
    assert workplace.run("index", "--allow-vanish", "--json").summary["read"] == 0
    assert workplace.run("apply", "--json").summary["done"] == 0
    assert workplace.run("verify", "--deep", "--json").summary["ok"] == 1
    assert workplace.files("export") == {"1.dcm": data}


def test_other_files_of_any_time_beside_a_destination_do_no_harm(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", InstanceNumber=1)
    dated(instance("export/of others"), 330 * 31_556_952)
    assert workplace.rules(RULES).run("apply", "--json").summary["done"] == 1
    assert workplace.run("verify", "--json").summary["extra"] == 1
