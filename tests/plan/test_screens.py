"""What `plan`, `apply` and `explain` show on terminals of 80 and 120 columns: golden files in `screens/`.

With REFRESH_SCREENS=1 they are written anew; look at the difference.
"""

import io
import os
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from pyconquest_rules.cli.common import Options
from pyconquest_rules.cli.main import run
from pyconquest_rules.network import query
from pyconquest_rules.render.terminal import width
from tests.conftest import Instance, Workplace, needs
from tests.waiting import until

SCREENS = Path(__file__).parent / "screens"
RULES = """
outputs = ["export", "slices"]

[sources.archive]
path = "data"

[sources.incoming]
path = "incoming"
layout = "{{ SOPInstanceUID }}.dcm"

[select.ct]
level = "series"
where = "Modality = 'CT'"

[select.reports]
level = "image"
query = "select SOPInstanceUID from images where Modality = 'SR' and StudyDate > '20200101'"

[copy.export]
select = "ct"
to = "export/2026.1/{{ PatientID }}/{{ StudyDate }}/{{ Modality }}/{{ SeriesInstanceUID }}/{{ SOPInstanceUID }}.dcm"

[copy.slices]
select = "ct"
to = "slices/{{ PatientID }}/{{ InstanceNumber | pad(4) }}.dcm"

[copy.reports]
select = "reports"
to = "export/reports/{{ SOPInstanceUID }}.dcm"

[nodes.pacs]
ae_title = "ARCHIVE"
host = "pacs.example.org"
port = 104

[retrieve.plans]
node = "pacs"
level = "study"
match = { PatientID = "RT-*" }
into = "incoming"
"""
AWAY = [("1.2.22.1", "1.2.33.1", 3), ("1.2.22.1", "1.2.33.2", 1), ("1.2.22.2", "1.2.33.9", 12)]


class Tty(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def scene(workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """Something of everything: done, changed, colliding, without a value, new, nothing to do, and on a node."""

    def series(patient: int, numbers: range) -> None:
        for number in numbers:
            where = {"SeriesInstanceUID": f"1.2.826.0.1.3680043.10.3.{patient}", "StudyInstanceUID": f"1.2.{patient}"}
            file = f"data/{patient}/{number}.dcm"
            instance(file, PatientID=f"HN-{patient:03}", InstanceNumber=number, pixels=bytes(1000), **where)

    (workplace.folder / "incoming").mkdir()
    series(1, range(1, 4))
    series(2, range(1, 3))
    matches = [
        {"StudyInstanceUID": study, "SeriesInstanceUID": of, "SOPInstanceUID": f"{of}.{number}", "SOPClassUID": "1.2.3"}
        for study, of, images in AWAY
        for number in range(images)
    ]

    def find(*_: Any, **__: Any) -> Any:
        yield from matches

    monkeypatch.setattr(query, "find", find)
    assert workplace.rules(RULES).run("apply", "copy").code == 0
    for number in (1, 2):
        with (workplace.folder / f"slices/HN-001/{number:04}.dcm").open("ab") as file:
            file.write(b"edited")
    for patient in range(3, 12):
        series(patient, range(1, 9))
    of = {"PatientID": "HN-002", "SeriesInstanceUID": "1.2.826.0.1.3680043.10.3.2", "StudyInstanceUID": "1.2.2"}
    for number in range(2):
        instance(f"data/2/same{number}.dcm", InstanceNumber=9, SOPInstanceUID=f"1.2.99.{number}", **of)
    instance("data/2/none.dcm", InstanceNumber=None, SOPInstanceUID="1.2.99.9", **of)
    assert workplace.run("index").code == 0
    return workplace


def shown(workplace: Workplace, columns: int, command: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a command writes to a terminal that is so wide, and its exit code."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(workplace.folder)
    out, err = Tty(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(shlex.split(command), Options())
    text = f"$ pyconquest-rules {command}\n{err.getvalue()}{out.getvalue()}exit {code}\n"
    return text.replace(str(workplace.folder), "/work")


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", ["plan", "plan copy.reports", "plan --list", "apply copy", "explain 1.2.99.0"])
def test_screen(scene: Workplace, columns: int, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(scene, columns, command, monkeypatch)
    golden = SCREENS / f"{command.replace(' ', '_')}.{columns}.txt"
    if os.environ.get("REFRESH_SCREENS"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
    if command in ("plan", "plan copy.reports", "apply copy"):
        assert max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_lines_fit_whatever_the_values_are(
    workplace: Workplace, instance: Instance, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, patient in enumerate(["x" * 60, "患者の名前" * 8, "a b" * 15, "é" * 40, "ü/" * 20, "P1"]):
        instance(f"data/{number}.dcm", PatientID=patient, InstanceNumber=number)
    set_of_ct = RULES[RULES.index("[select.ct]") : RULES.index("[select.reports]")]
    copy = '[copy.a]\nselect = "ct"\nto = "o/{{ PatientID }}/{{ PatientID }}/{{ InstanceNumber }}.dcm"\n'
    workplace.rules(f'outputs = ["o"]\n[sources.archive]\npath = "data"\n{set_of_ct}{copy}')
    lines = shown(workplace, columns, "plan", monkeypatch).splitlines()
    grouped = [line for line in lines if line.startswith("    ")]
    assert len(grouped) > 6
    assert max(map(width, grouped)) <= max(columns, 30)


def test_nothing_of_a_progress_bar_is_left_on_a_real_terminal(scene: Workplace, tmp_path: Path) -> None:
    """Needs tmux, which is a terminal that can be read."""
    needs("tmux", subprocess.run(["tmux", "-V"], check=False, capture_output=True).returncode == 0)
    (scene.folder / "rules.toml").write_text("rules_version = 1" + RULES[: RULES.index("[nodes.pacs]")], encoding="utf-8")
    (scene.folder / "data/broken.dcm").write_bytes((scene.folder / "data/3/1.dcm").read_bytes()[:-200])
    for number, (columns, command) in enumerate([(80, "plan"), (120, "plan"), (40, "plan"), (80, "apply"), (120, "apply")]):
        done, tmux = tmp_path / f"done{number}", ["tmux", "-S", str(tmp_path / f"tmux{number}"), "-f", "/dev/null"]
        asked = f"env -u COLUMNS -u LINES {sys.executable} -m pyconquest_rules {command}; touch {done}; sleep 600"
        subprocess.run([*tmux, "new-session", "-d", "-x", str(columns), "-y", "200", "-c", str(scene.folder), asked], check=True)
        try:
            until(done.exists, 120)
            screen = subprocess.run([*tmux, "capture-pane", "-p"], check=True, capture_output=True, text=True).stdout
        finally:
            subprocess.run([*tmux, "kill-server"], check=True)
        assert "copy.slices" in screen
        assert "━" not in screen
        assert "planning" not in screen
        assert "reading headers" not in screen
        assert screen.startswith(("1 DICOM file is not in the index", "! copy.slices"))
