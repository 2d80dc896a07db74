"""What other repositories use of this one: the composite action and the pre-commit hook."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ci.runner import Result, Runner, read
from tests.conftest import REPOSITORY, Workplace
from tests.quickstart import EXAMPLES

ACTION = read(REPOSITORY / "action.yml")
INSTALL, *STEPS = ACTION["runs"]["steps"]
HOOKS = read(REPOSITORY / ".pre-commit-hooks.yaml")
RULES = """
outputs = ["export"]

[sources.archive]
path = "data"

[select.plans]
level = "series"
where = "Modality = 'RTPLAN'"

[copy.plans]
select = "plans"
to = "export/{{ SOPInstanceUID }}.dcm"

[expect.no_doses]
query = "select PatientID, SOPInstanceUID from images where Modality = 'RTDOSE'"
severity = "warn"

[release.v1]
actions = ["copy.plans"]
root = "export"
lock = "v1.txt"
"""


@pytest.fixture
def used(workplace: Workplace) -> Workplace:
    """A repository with rules, whose data come from examples/quickstart."""
    shutil.copytree(EXAMPLES / "clinic", workplace.folder / "data")
    return workplace.rules(RULES)


@pytest.fixture(scope="module")
def installed(project: Path, packages: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A runner on which the action has installed the program."""
    programs = tmp_path_factory.mktemp("programs")
    (programs / "python3").symlink_to(Path(sys.executable).resolve())  # the packages are for this version of Python
    environment = {**packages, "GITHUB_ACTION_PATH": str(project), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    runner = Runner(project, tmp_path_factory.mktemp("runner"), environment=environment)
    (result,) = runner.run([INSTALL]).values()
    assert result.code == 0, result
    return runner


def act(installed: Runner, used: Workplace, **inputs: str) -> tuple[str, dict[str, Result]]:
    """Run the other steps of the action with these inputs. Return the summary of the job, and the results by name."""
    assert inputs.keys() <= ACTION["inputs"].keys()
    given = {f"inputs.{name}": inputs.get(name, of["default"]) for name, of in ACTION["inputs"].items()}
    runner = Runner(used.folder, installed.folder, given, installed.environment)
    results = runner.run(STEPS)
    return runner.summary, results


def codes(results: dict[str, Result]) -> dict[str, int | None]:
    """Return the exit codes by name."""
    return {name: of.code for name, of in results.items()}


def test_the_action_is_a_composite_one_of_bash() -> None:
    assert ACTION["runs"]["using"] == "composite"
    assert {step["shell"] for step in ACTION["runs"]["steps"]} == {"bash"}  # GitHub requires it
    assert all(of["description"] for of in [ACTION, *ACTION["inputs"].values()])


def test_the_action_checks_and_plans(installed: Runner, used: Workplace) -> None:
    summary, results = act(installed, used)
    assert codes(results) == {"Check the rules": 0, "Plan": 0, "Apply": None, "Verify": None}
    assert "- warning: expect.no_doses has 1 row that should not be there\n" in summary
    assert "| `copy.plans` | todo | new | 1 |" in summary
    assert not re.search(r"id00001|id11111|Last|1\.[0-9.]{9}|data/|export/", summary)
    assert used.files("export") == {}


def test_the_action_applies_and_verifies_what_is_locked(installed: Runner, used: Workplace) -> None:
    assert used.run("lock").code == 0
    _, results = act(installed, used, locked="true", apply="true")
    assert codes(results) == {"Check the rules": 0, "Plan": 0, "Apply": 0, "Verify": 0}
    assert "verify: ok 5, missing 0" in results["Verify"].out
    assert len(used.files("export")) == 5


def test_the_action_fails_if_the_lock_differs(installed: Runner, used: Workplace) -> None:
    assert used.run("lock").code == 0
    (used.folder / "data/rtplan.dcm").unlink()
    _, results = act(installed, used, locked="true", apply="true")
    assert codes(results) == {"Check the rules": 0, "Plan": 4, "Apply": None, "Verify": None}
    assert "gone" in results["Plan"].out


def test_the_action_names_the_file_in_the_repository(installed: Runner, used: Workplace) -> None:
    (used.folder / "some rules").mkdir()
    (used.folder / "some rules/mine.toml").write_text(f"rules_version = 1\n{RULES.replace('Modality', 'Modalty')}")
    _, results = act(installed, used, rules="some rules/mine.toml")
    assert codes(results) == {"Check the rules": 2, "Plan": None, "Apply": None, "Verify": None}
    assert results["Check the rules"].out.startswith("::error file=some rules/mine.toml,line=10,"), results


def pre_commit(folder: Path, home: Path, packages: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pre-commit in a repository, with its cache in `home` and without the settings of the user."""
    environment = {**os.environ, **packages, "PRE_COMMIT_HOME": str(home), "GIT_CONFIG_GLOBAL": os.devnull}
    command = [sys.executable, "-m", "pre_commit", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def committed(folder: Path) -> str:
    """Make a folder a repository, commit all of it, and return the commit."""
    name = ["-c", "user.name=example", "-c", "user.email=example"]
    for command in (["init", "-q"], ["add", "-A"], [*name, "commit", "-q", "-m", "All"]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_hook_checks_the_rules(
    used: Workplace, project: Path, packages: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home, origin = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("origin") / "project"
    shutil.copytree(project, origin)
    (hook,) = HOOKS
    config = f"repos:\n  - repo: {origin}\n    rev: {committed(origin)}\n    hooks:\n      - id: {hook['id']}\n"
    (used.folder / ".pre-commit-config.yaml").write_text(config, encoding="utf-8")
    committed(used.folder)
    done = pre_commit(used.folder, home, packages, "run", "--all-files")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"^{hook['name']}\.+Passed$", done.stdout, re.MULTILINE)

    used.rules(RULES.replace('select = "plans"', 'select = "plan"'))
    done = pre_commit(used.folder, home, packages, "run", "--files", "rules.toml")
    assert done.returncode == 1
    assert 'rules.toml:13:10: unknown set "plan"' in done.stdout
    assert pre_commit(used.folder, home, packages, "run", "--files", "data/rtplan.dcm").returncode == 0  # none of its files
    assert pre_commit(used.folder, home, packages, "validate-manifest", str(origin / ".pre-commit-hooks.yaml")).returncode == 0
