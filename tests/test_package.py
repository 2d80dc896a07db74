"""The wheel is complete: it works in an empty folder."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import tomli
from packaging.requirements import Requirement

from tests.conftest import REPOSITORY


def test_the_wheel_has_the_standard_layout_and_works_alone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {"pyconquest_rules/dicom.sql", "pyconquest_rules/py.typed", "pyconquest_rules/presets/starter.toml"} <= set(
            archive.namelist()
        )
        archive.extractall(tmp_path / "installed")
    (tmp_path / "empty").mkdir()
    for command in ("init", "check"):
        run = [sys.executable, "-m", "pyconquest_rules", command]
        environment = {"PYTHONPATH": str(tmp_path / "installed"), "PATH": "/usr/bin:/bin"}
        subprocess.run(run, cwd=tmp_path / "empty", env=environment, check=True, capture_output=True)
    assert (tmp_path / "empty" / "rules.toml").exists()


PERMISSIVE = {"MIT", "MIT License", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "ISC License (ISCL)", "PSF-2.0", "Apache-2.0"}


def test_the_licences_are_listed_and_permissive() -> None:
    command = [sys.executable, "docs/make_licences.py"]
    made = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    assert (REPOSITORY / "docs/licences.md").read_text() == made, "python docs/make_licences.py > docs/licences.md"
    assert {line.split(" | ")[-1].rstrip(" |") for line in made.splitlines()[7:]} <= PERMISSIVE


def test_every_package_of_the_development_environment_is_pinned_by_its_hash() -> None:
    lock = (REPOSITORY / "requirements-dev.txt").read_text()
    pinned = {entry.partition("==")[0]: entry for entry in re.split(r"\n(?=\S)", lock) if not entry.startswith("#")}
    assert all("--hash=sha256:" in entry for entry in pinned.values())
    project = tomli.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {Requirement(text).name for text in wanted} <= pinned.keys(), "make lock"
