"""examples/ci: from the clone to the verified data set, by the steps of its workflow."""

import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.ci.runner import Result, Runner, read
from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "ci"
STEPS = read(EXAMPLE / ".github/workflows/dataset.yml")["jobs"]["dataset"]["steps"]
MAIN, PULL_REQUEST = "refs/heads/main", "refs/pull/7/merge"


def git(folder: Path, *arguments: str) -> str:
    """Run git without the settings of the user."""
    name = {f"GIT_{who}_{what}": "example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **name, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def runner(tmp_path: Path, packages: dict[str, str], python: Path) -> Runner:
    """A runner with a clone of the example, and a Python of its own."""
    shutil.copytree(EXAMPLE, tmp_path / "origin")
    git(tmp_path / "origin", "init", "-q", "-b", "main")
    git(tmp_path / "origin", "add", "-A")
    git(tmp_path / "origin", "commit", "-q", "-m", "A data set")
    git(tmp_path, "clone", "-q", "origin", "clone")
    environment = {**packages, "PATH": f"{python}{os.pathsep}{os.environ['PATH']}"}
    return Runner(tmp_path / "clone", tmp_path / "runner", {"github.ref": MAIN}, environment)


def codes(results: dict[str, Result]) -> list[int | None]:
    """Return the exit codes of the steps that are commands."""
    return [results[step["name"]].code for step in STEPS if "run" in step]


def test_from_the_clone_to_the_verified_data_set(runner: Runner) -> None:
    results = runner.run(STEPS)
    assert codes(results) == [0] * 7, results
    made = sorted(str(file.relative_to(runner.workspace)) for file in (runner.workspace / "export").rglob("*.dcm"))
    assert made == [f"export/sub-0{phantom}/ct/00{number}.dcm" for phantom in (1, 2) for number in (1, 2, 3)]
    assert "verify: ok 9, missing 0, changed 0, extra 0" in results["Verify it"].out
    assert runner.summary.startswith("### Plan: 10 to do, 0 blocked, 0 unchanged\n")
    cases = ElementTree.parse(runner.workspace / "plan.xml").findall(".//testcase")
    assert "copy.dataset" in {case.get("name") for case in cases}
    assert not [case for case in cases if case.find("failure") is not None]
    uploaded = [step["with"]["path"] for step in runner.uses if step["uses"].startswith("actions/upload-artifact@")]
    assert all((runner.workspace / path).exists() for path in uploaded)
    assert len(uploaded) == 2
    assert git(runner.workspace, "status", "--short") == "?? .pyconquest-rules/\n"

    again = runner.run([step for step in STEPS if step.get("name") in ("Make the data set", "Verify it")])
    assert "done 0, unchanged 10" in again["Make the data set"].out


def test_a_pull_request_is_only_checked(runner: Runner) -> None:
    runner.contexts["github.ref"] = PULL_REQUEST
    assert codes(runner.run(STEPS)) == [0] * 5 + [None] * 2
    assert not (runner.workspace / "export").exists()


def test_an_error_of_the_rules_is_shown_at_its_line(runner: Runner) -> None:
    rules = runner.workspace / "rules.toml"
    text = rules.read_text(encoding="utf-8")
    rules.write_text(text.replace('select = "scans"', 'select = "scan"'), encoding="utf-8")
    results = runner.run(STEPS)
    assert codes(results) == [0, 0, 2, None, None, None, None]
    line = text[: text.index('select = "scans"')].count("\n") + 1
    assert results["Check the rules"].out.startswith(f"::error file=rules.toml,line={line},col=10,")


def test_data_that_changed_after_the_lock_stop_it(runner: Runner) -> None:
    script = runner.workspace / "make_data.py"
    script.write_text(script.read_text(encoding="utf-8").replace("4 + phantom", "3 + phantom"), encoding="utf-8")
    results = runner.run(STEPS)
    assert codes(results) == [0, 0, 0, 0, 4, None, None]
    assert "changed  instances: 6, series: 2, studies: 2, patients: 2" in results["Compare it with the lock"].out
    assert not (runner.workspace / "export").exists()


def test_a_failed_expectation_stops_it(runner: Runner) -> None:
    subjects = runner.workspace / "subjects.csv"
    subjects.write_text(f"{subjects.read_text(encoding='utf-8')}PHANTOM-C,sub-03\n", encoding="utf-8")
    results = runner.run(STEPS)
    assert codes(results) == [0, 0, 0, 4, None, None, None]
    assert "\n- **failed**: expect.one_scan_each has 1 row that should not be there\n" in runner.summary
    assert "| `copy.dataset` | **blocked** | expectation | 6 |\n" in runner.summary
    assert not (runner.workspace / "export").exists()


def test_the_example_is_small_text() -> None:
    files = [file for file in EXAMPLE.rglob("*") if file.is_file()]
    assert sum(len(file.read_text(encoding="utf-8")) for file in files) < 12_000
