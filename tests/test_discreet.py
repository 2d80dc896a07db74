"""Standard error, summaries and crash reports have no patient data."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PLANTED, Instance, Workplace, save
from tests.plan.manual import copies

SECRETS = {**PLANTED, "PatientID": "PLANTED/ID"}  # with what no file may be called, so that it is changed on the way
TO = "export/{{ PatientID }}/{{ PatientName }}/{{ InstanceNumber }}.dcm"


@pytest.fixture
def troubled(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace in which most steps fail, each with patient data at hand."""
    for number in range(6):
        instance(f"data/{number}.dcm", **SECRETS, InstanceNumber=number)
    instance("data/again.dcm", **SECRETS, InstanceNumber=1)  # wants the same path
    instance("data/other.dcm", **SECRETS, InstanceNumber=8, SOPInstanceUID="1.2.826.0.1.3680043.10.1.1")  # the same UID
    instance("data/none.dcm", **{**SECRETS, "PatientName": None}, InstanceNumber=9)
    whole = instance("data/cut.dcm", **SECRETS, pixels=bytes(1000))
    whole.write_bytes(whole.read_bytes()[:-500])
    save(workplace.folder / "data/uid.dcm", {**SECRETS, "SOPClassUID": "1.2", "SOPInstanceUID": "../../1"})
    return workplace.rules(copies(TO))


def told(workplace: Workplace, command: str) -> str:
    """Return what a command prints on standard error, and its summary."""
    done = workplace.run(*shlex.split(command))
    return done.err + (done.out.splitlines() or [""])[-1] * command.endswith("--json")


COMMANDS = [
    "index",
    "plan",
    "apply",
    "status",
    "history",
    "verify",
    "verify --deep",
    "explain 1.2.826.0.1.3680043.10.1.3",
    "explain nothing",
    "query nothing",
    "query 'select PatientName + no_such_column from series'",
    "apply copy.nothing",
    "forget nothing",
]


@pytest.mark.parametrize("form", ["", "--json"], ids=["people", "programs"])
def test_a_run_with_many_failures(troubled: Workplace, form: str) -> None:
    said = [told(troubled, f"{command} {form}".strip()) for command in COMMANDS]
    for file in (troubled.folder / "export").rglob("3.dcm"):
        file.write_bytes(b"changed")
    for file in (troubled.folder / "export").rglob("4.dcm"):
        file.unlink()
    os.truncate(troubled.folder / "data/5.dcm", 200)
    said += [told(troubled, f"{command} {form}".strip()) for command in ("apply --no-index", *COMMANDS)]
    assert not [value for value in SECRETS.values() if any(value in text for text in said)]


CRASH = """
import sys
from threading import Thread
from pyconquest_rules import app
from pyconquest_rules.answers import Refusals
from pyconquest_rules.cli import main

def fail(*given):
    try:
        {"PLANTED/ID": 1}["Doe^Jane"]
    except KeyError as error:
        raise ValueError("PLANTED-ADDRESS") from error

def start(*given):
    thread = Thread(target=fail)
    thread.start()
    thread.join()
    return [], []

app.refusals = lambda rules: Refusals({}, {})
app.status = {"here": fail, "thread": start}[sys.argv.pop()]
sys.argv[1:] = ["status"]
main()
"""


@pytest.mark.parametrize(("where", "code"), [("here", 1), ("thread", 0)])
def test_an_internal_error_is_reported_without_its_text(workplace: Workplace, where: str, code: int) -> None:
    workplace.rules("")
    done = subprocess.run([sys.executable, "-c", CRASH, where], cwd=workplace.folder, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "builtins.ValueError" in done.stderr
    assert "builtins.KeyError" in done.stderr
    assert ", in fail" in done.stderr
    shown = done.stderr.replace(CRASH, "")
    assert not [value for value in SECRETS.values() if value in shown]


def test_warnings_of_libraries_are_not_printed(workplace: Workplace, tmp_path: Path) -> None:
    roi = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3",
        "Modality": "RTSTRUCT",
        "SOPInstanceUID": "1.2.3",
        "StudyDate": "Doe^Jane",
    }
    (tmp_path / "data").mkdir()
    save(tmp_path / "data/rs.dcm", roi)
    workplace.rules('[index]\nhash = true\n[sources.archive]\npath = "data"\n')
    done = subprocess.run(
        [sys.executable, "-m", "pyconquest_rules", "index"], cwd=workplace.folder, capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == "index: seen 1, read 1, indexed 1\n"
