"""docs/ci.md: its snippets use what this repository has, and its commands work."""

import re
import shutil
from pathlib import Path

import yaml

from tests.ci.runner import Runner, read
from tests.conftest import REPOSITORY
from tests.docs.blocks import blocks

PAGE = (REPOSITORY / "docs/ci.md").read_text(encoding="utf-8")
EXAMPLE = REPOSITORY / "examples" / "ci"
GITHUB, GITLAB, PRE_COMMIT = (yaml.safe_load(block) for block in blocks(PAGE, "yaml"))


def test_the_snippet_for_github_has_inputs_of_the_action() -> None:
    inputs = read(REPOSITORY / "action.yml")["inputs"]
    (step,) = (step for step in GITHUB if "pyconquest_rules@" in step["uses"])
    assert step["with"].keys() <= inputs.keys()
    assert dict(re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", PAGE, re.MULTILINE)) == {
        name: of["default"] for name, of in inputs.items()
    }


def test_the_snippet_for_pre_commit_has_our_hook() -> None:
    (hook,) = PRE_COMMIT["repos"][0]["hooks"]
    assert hook == {"id": read(REPOSITORY / ".pre-commit-hooks.yaml")[0]["id"]}


def lines_work(lines: list[str], tmp_path: Path, packages: dict[str, str], python: Path) -> Path:
    """Run lines of a shell in a copy of the example, with a Python of its own. Return the copy."""
    shutil.copytree(EXAMPLE, tmp_path / "clone")
    runner = Runner(tmp_path / "clone", tmp_path / "runner", environment={**packages, "PATH": f"{python}:/usr/bin:/bin"})
    results = runner.run([{"name": line, "run": line} for line in lines])
    assert {of.code for of in results.values()} == {0}, results
    return runner.workspace


def test_the_script_for_gitlab_works(tmp_path: Path, packages: dict[str, str], python: Path) -> None:
    made = lines_work(GITLAB["dataset"]["script"], tmp_path, packages, python)
    assert (made / GITLAB["dataset"]["artifacts"]["reports"]["junit"]).stat().st_size > 0


def test_the_commands_of_the_example_work_by_hand(tmp_path: Path, packages: dict[str, str], python: Path) -> None:
    (commands,) = blocks((EXAMPLE / "README.md").read_text(encoding="utf-8"), "")
    made = lines_work(["pip install pyconquest-rules", *commands.splitlines()], tmp_path, packages, python)
    assert len([*(made / "export").rglob("*.dcm")]) == 6


def test_the_page_and_the_container_file_have_the_same_commands() -> None:
    container = (REPOSITORY / "Containerfile").read_text(encoding="utf-8")
    named = re.findall(r"^# (?:Build|Run): +(docker .*)$", container, re.MULTILINE)
    assert named == re.findall(r"^docker .*$", PAGE, re.MULTILINE)


def test_links_lead_to_files() -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGE):
        assert (REPOSITORY / "docs" / link).exists(), link
