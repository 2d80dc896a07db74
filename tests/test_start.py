"""Commands import only what they need, because importing takes longer than most commands."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Workplace

RULES = """
[sources.archive]
path = "data"

[select.scans]
level = "series"
where = "Modality = 'CT'"

[copy.export]
select = "scans"
to = "export/{{ SOPInstanceUID }}.dcm"
"""

READING_FILES = {"pydicom", "pynetdicom", "multiprocessing"}
LOADING_RULES = {"jinja2", "pydantic", "sqlite3", "tomli"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rules and an empty index."""
    workplace = Workplace(tmp_path_factory.mktemp("start")).rules(RULES)
    (workplace.folder / "data").mkdir()
    assert workplace.run("index").code == 0
    return workplace.folder


def imported(folder: Path, *arguments: str) -> set[str]:
    """Return the top-level packages and modules that a command imports."""
    command = [sys.executable, "-X", "importtime", "-m", "pyconquest_rules", *arguments]
    said = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stderr
    times = (line.split("|") for line in said.splitlines() if line.startswith("import time:"))
    return {name.strip().partition(".")[0] for *_, name in times}


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_imports_of_help_and_version(folder: Path, argument: str) -> None:
    assert imported(folder, argument) & (READING_FILES | LOADING_RULES | {"rich"}) == set()


def test_imports_of_the_help_of_a_command(folder: Path) -> None:
    assert imported(folder, "apply", "--help") & (READING_FILES | {"jinja2", "sqlite3", "rich"}) == set()


@pytest.mark.parametrize(
    "arguments", ["check", "schema", "status", "summary", "history", "verify", "plan --no-index", "query scans"]
)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["people", "programs"])
def test_imports_of_commands_that_read_no_files(folder: Path, arguments: str, form: list[str]) -> None:
    assert imported(folder, *arguments.split(), *form) & (READING_FILES | {"rich"}) == set()


def test_imports_of_an_index_of_a_few_files(folder: Path) -> None:
    assert imported(folder, "index") & {"pynetdicom", "multiprocessing", "rich"} == set()
