"""Fixtures: the files of this project as others get them, and a folder of packages to install from."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, needs

# What the package is built from, and what others use of this repository.
SHIPPED = ("pyconquest_rules", "pyproject.toml", "README.md", "LICENSE", "dicom.sql", ".pre-commit-hooks.yaml", "action.yml")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files of this project that others use, so that nothing is built in the repository."""
    folder = tmp_path_factory.mktemp("project")
    for name in SHIPPED:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def packages(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment for a pip that installs from a folder only: it has our wheel, what it needs, and what builds it."""
    folder = tmp_path_factory.mktemp("packages")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), str(project), "hatchling"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    needs("a package index, to install from", made.returncode == 0)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a new Python environment."""
    folder = tmp_path_factory.mktemp("python")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / "bin"
