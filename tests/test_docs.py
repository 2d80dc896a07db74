"""The documentation is correct: its commands run, its examples pass `check`, its generated pages are up to date."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Workplace
from tests.docs.blocks import blocks

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
QUICKSTART = REPOSITORY / "examples" / "quickstart"


@pytest.fixture
def quickstart(workplace: Workplace) -> Workplace:
    """A workplace with a copy of examples/quickstart."""
    shutil.copytree(QUICKSTART, workplace.folder, dirs_exist_ok=True)
    return workplace


def test_the_screen_of_the_readme_is_what_the_program_prints(quickstart: Workplace) -> None:
    (screen,) = (block for block in blocks(README, "") if block.startswith("$"))
    for command, shown in re.findall(r"^\$ pyconquest-rules (.*)\n((?:(?!\$).*\n?)*)", screen, re.MULTILINE):
        done = quickstart.run(*shlex.split(command))
        assert (done.out + done.err).strip() == shown.strip(), command
        assert done.code == 0


def test_the_first_job_of_the_readme_works_in_a_folder_with_files(workplace: Workplace) -> None:
    shutil.copytree(QUICKSTART / "data", workplace.folder / "data")
    (job,) = (block for block in blocks(README, "") if block.startswith("pyconquest-rules init"))
    for line in job.splitlines():
        assert workplace.run(*shlex.split(line)[1:]).code == 0, line
    assert len(workplace.files("export")) == 18


def test_the_rules_of_the_readme_are_valid(workplace: Workplace) -> None:
    (rules,) = blocks(README, "toml")
    (workplace.folder / "rules.toml").write_text(rules, encoding="utf-8")
    assert workplace.run("check").code == 0, workplace.run("check").err


def test_the_python_of_the_readme_runs(quickstart: Workplace) -> None:
    (code,) = blocks(README, "python")
    said = subprocess.run([sys.executable, "-c", code], cwd=quickstart.folder, capture_output=True, text=True, check=True).stdout
    assert "'done': 17" in said


def test_the_commands_of_the_quickstart_run(quickstart: Workplace) -> None:
    (commands,) = blocks((QUICKSTART / "README.md").read_text(encoding="utf-8"), "")
    for line in commands.splitlines():
        done = quickstart.run(*shlex.split(line)[1:])
        assert done.code == 0, (line, done.err)


def test_the_demo_runs(quickstart: Workplace) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["sh", str(REPOSITORY / "examples" / "demo.sh")]
    demo = subprocess.run(command, cwd=quickstart.folder, env=environment, capture_output=True, text=True, check=False)
    assert demo.returncode == 0, demo.stderr
    assert "run 2: done 0, unchanged 17" in demo.stderr


def test_the_page_of_the_command_line_is_up_to_date() -> None:
    spec = spec_from_file_location("make_cli", REPOSITORY / "docs" / "make_cli.py")
    assert spec
    assert spec.loader
    make_cli = module_from_spec(spec)
    spec.loader.exec_module(make_cli)
    assert (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8") == make_cli.page(), (
        "python docs/make_cli.py > docs/cli.md"
    )


def test_links_of_the_readme_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (REPOSITORY / target).exists(), target
