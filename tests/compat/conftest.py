"""The working folder of a test, and the scripts run with pyconquest 0.1.12 from PyPI and with our class."""

import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.compat.workdir import Hurried
from tests.conftest import REPOSITORY, needs

DRIVER = Path(__file__).with_name("driver.py")
# pyconquest requires scikit-image too, but never imports it.
PACKAGES = ("pyconquest==0.1.12", "pydicom>=3,<4", "pynetdicom>=3,<4")


@dataclass(frozen=True)
class Ran:
    """The folders and the results of the scripts, run with one class."""

    folder: Path
    results: dict[str, Any]

    def database(self, script: str) -> Path:
        name = "test.db" if script == "names_of_ones_own" else "conquest.db"
        return self.folder / script / name

    def files(self, script: str) -> dict[str, bytes]:
        """Return the files of a script, without its database and log."""
        root = self.folder / script
        found = (path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix not in (".db", ".log"))
        return {str(path.relative_to(root)): path.read_bytes() for path in found}


def ran(python: str | Path, module: str, folder: Path) -> Ran:
    command = [str(python), str(DRIVER), module, str(REPOSITORY / "examples"), str(folder)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return Ran(folder, json.loads((folder / "results.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python with pyconquest 0.1.12."""
    python = tmp_path_factory.mktemp("environment") / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(python.parents[1])], check=True, capture_output=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, "--no-deps", "--no-compile", *PACKAGES], check=False, capture_output=True)
    needs("pyconquest 0.1.12 from PyPI", done.returncode == 0)
    return python


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, old_python: Path) -> Ran:
    """Run the scripts with pyconquest 0.1.12."""
    return ran(old_python, "pyconquest", tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Run the scripts with our class."""
    return ran(sys.executable, "pyconquest_rules.compat.pyconquest", tmp_path_factory.mktemp("ours"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run the test in a folder of its own, as a script runs. Writes are not synced, because no test cuts the power."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Hurried))
    yield tmp_path
    logging.getLogger("pyconquest").setLevel(logging.NOTSET)
