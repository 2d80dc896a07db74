"""The container file. No container is built: its lines are carried out in a folder, in which /source, /wheels and /work are."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

LINES = (REPOSITORY / "Containerfile").read_text(encoding="utf-8").splitlines()
INSTRUCTIONS = [line for line in LINES if line and not line.startswith("#")]
INSIDE = re.compile(r"(?<!\S)/(?=(?:source|wheels|work)\b)")


def copied(sources: list[str], to: Path) -> None:
    """Copy as COPY does: a file into the folder, but of a folder what it has."""
    for source in (REPOSITORY / each for each in sources):
        if source.is_dir():
            shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to)


def test_its_lines_build_the_wheel_install_it_and_run_it(packages: dict[str, str], tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "python")], check=True)
    environment = {**packages, "PATH": f"{tmp_path / 'python/bin'}{os.pathsep}{os.environ['PATH']}"}
    for line in INSTRUCTIONS:
        word, _, rest = INSIDE.sub(f"{tmp_path}/", line).partition(" ")
        match word, rest.split():
            case "COPY", ["--from=wheel", _, _]:
                assert len([*(tmp_path / "wheels").iterdir()]) == 1
            case "COPY", [*sources, to]:
                copied(sources, Path(to))
            case "RUN", _:
                subprocess.run(["sh", "-c", rest], env=environment, check=True, capture_output=True)
            case "WORKDIR", [folder]:
                Path(folder).mkdir()
            case "ENTRYPOINT", _:
                command = [*json.loads(rest), "init"]
                subprocess.run(command, cwd=tmp_path / "work", env=environment, check=True, capture_output=True)
            case "FROM" | "USER", _:
                pass
            case _:
                pytest.fail(f"this test does not know {word}")
    assert (tmp_path / "work/rules.toml").exists()
    assert not (tmp_path / "wheels").exists()


def test_it_leaves_no_cache_and_runs_as_an_ordinary_user() -> None:
    assert all("--no-cache-dir" in line for line in INSTRUCTIONS if line.startswith("RUN pip"))
    words = [line.split()[0] for line in INSTRUCTIONS]
    last_stage = len(words) - words[::-1].index("FROM")
    (user,) = (line for line in INSTRUCTIONS[last_stage:] if line.startswith("USER "))
    assert re.fullmatch("USER [1-9][0-9]*:[1-9][0-9]*", user)  # a number: Kubernetes can see that it is not root
    assert words.index("USER") > max(place for place, word in enumerate(words) if word == "RUN")
