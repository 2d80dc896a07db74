"""Find the programs of DCMTK although pynetdicom installs programs of the same name, as the docs explain."""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.dcmtk import dcmtk

SHARED_NAMES = ["storescp", "storescu", "findscu", "echoscu", "getscu", "movescu"]


@pytest.mark.parametrize("name", SHARED_NAMES)
def test_finds_dcmtk_behind_programs_of_the_same_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    shadow = tmp_path / name
    shadow.write_text(f"#!{sys.executable}\nprint('{name} v0.7.0')\n")
    shadow.chmod(0o755)
    folders = [str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    said = subprocess.run([dcmtk(name), "--version"], check=True, capture_output=True, text=True).stdout
    assert said.startswith(f"$dcmtk: {name} v")


def test_the_docs_name_the_programs_that_pynetdicom_installs() -> None:
    installed = {point.name for point in distribution("pynetdicom").entry_points if point.group == "console_scripts"}
    page = (REPOSITORY / "docs" / "rules.md").read_text(encoding="utf-8")
    section = page.partition("### Trying it without an archive")[2].partition("\n## ")[0]
    assert {*SHARED_NAMES} <= installed
    assert {*SHARED_NAMES} <= {*re.findall(r"`(\w+)`", section)}
    assert all(not line.startswith(tuple(SHARED_NAMES)) for line in section.splitlines()), "call DCMTK's by its path"


def test_no_test_and_no_benchmark_uses_the_first_program_on_the_path() -> None:
    names = "|".join(SHARED_NAMES)
    for folder in ("tests", "bench"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            found = re.findall(rf"""(?:\[|which\(|run\()"(?:{names})",""", file.read_text(encoding="utf-8"))
            assert not found or file == Path(__file__), (file, found)
