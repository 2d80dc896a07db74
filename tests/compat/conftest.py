"""The scripts, run with pyconquest 0.1.12 from PyPI in an environment of its own, and with ours."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, needs

DRIVER = Path(__file__).with_name("driver.py")
# pyconquest asks for scikit-image too, but never imports it.
PACKAGES = ("pyconquest==0.1.12", "pydicom>=3,<4", "pynetdicom>=3,<4")


@dataclass(frozen=True)
class Ran:
    """What the scripts came to with one class: their folders, and what `driver.py` noted."""

    folder: Path
    results: dict[str, Any]

    def database(self, script: str) -> Path:
        name = "test.db" if script == "names_of_ones_own" else "conquest.db"
        return self.folder / script / name

    def files(self, script: str) -> dict[str, bytes]:
        """The files that a script left, but for the database and pyconquest's log."""
        root = self.folder / script
        found = (path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix not in (".db", ".log"))
        return {str(path.relative_to(root)): path.read_bytes() for path in found}


def ran(python: str | Path, module: str, folder: Path) -> Ran:
    command = [str(python), str(DRIVER), module, str(REPOSITORY / "examples"), str(folder)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return Ran(folder, json.loads((folder / "results.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has pyconquest 0.1.12."""
    python = tmp_path_factory.mktemp("environment") / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(python.parents[1])], check=True, capture_output=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, "--no-deps", "--no-compile", *PACKAGES], check=False, capture_output=True)
    needs("pyconquest 0.1.12 from PyPI", done.returncode == 0)
    return python


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, old_python: Path) -> Ran:
    """The scripts as pyconquest 0.1.12 runs them."""
    return ran(old_python, "pyconquest", tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The scripts as our class runs them."""
    return ran(sys.executable, "pyconquest_rules.compat.pyconquest", tmp_path_factory.mktemp("ours"))
