"""What an installed wheel has in it: an empty folder and the wheel are all that a user needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import REPOSITORY


def test_the_wheel_carries_the_standard_layout_and_works_alone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {"pyconquest_rules/dicom.sql", "pyconquest_rules/py.typed"} <= set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    (tmp_path / "empty").mkdir()
    for command in ("init", "check"):
        run = [sys.executable, "-m", "pyconquest_rules", command]
        environment = {"PYTHONPATH": str(tmp_path / "installed"), "PATH": "/usr/bin:/bin"}
        subprocess.run(run, cwd=tmp_path / "empty", env=environment, check=True, capture_output=True)
    assert (tmp_path / "empty" / "rules.toml").exists()
