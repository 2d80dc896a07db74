"""A runner that carries out the steps of a workflow or of a composite action as they stand, with the environment of GitHub's."""

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

EXPRESSION = re.compile(r"\$\{\{ *(.*?) *\}\}")


def read(file: Path) -> Any:
    """Return the content of a YAML file."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Result:
    """What became of a step: `code` is None if it was skipped. `out` has both streams."""

    code: int | None
    out: str = ""


@dataclass
class Runner:
    """Runs steps in a workspace. `contexts` are the values of expressions, such as `inputs.rules` and `github.ref`."""

    workspace: Path
    folder: Path  # of the runner: temporary files
    contexts: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    uses: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "PATH").touch()
        (self.folder / "STEP_SUMMARY").write_text("", encoding="utf-8")

    @property
    def summary(self) -> str:
        """The summary of the job."""
        return (self.folder / "STEP_SUMMARY").read_text(encoding="utf-8")

    def run(self, steps: list[dict[str, Any]]) -> dict[str, Result]:
        """Run steps, and return their results by name. After a failure, only steps with `always()` run."""
        results = dict[str, Result]()
        failed = False
        for step in steps:
            name = step.get("name") or step["uses"]
            if not self._wanted(str(step.get("if", "success()")), failed=failed):
                results.setdefault(name, Result(None))
                continue
            if "uses" in step:
                self.uses.append(step)
                continue
            results[name] = self._bash(step)
            failed = failed or results[name].code != 0
        return results

    def _wanted(self, condition: str, *, failed: bool) -> bool:
        if condition in ("always()", "success()"):
            return condition == "always()" or not failed
        equal = re.fullmatch(r"([a-z.]+) == '([^']*)'", condition)
        assert equal, f"this runner cannot evaluate {condition}"
        return not failed and self.contexts[equal[1]] == equal[2]

    def _bash(self, step: dict[str, Any]) -> Result:
        assert "${{" not in step["run"], "an expression in a script can inject commands"
        added = (self.folder / "PATH").read_text(encoding="utf-8").split()
        variables = {
            name: EXPRESSION.sub(lambda found: self.contexts[found[1]], text) for name, text in step.get("env", {}).items()
        }
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            **self.environment,
            **{f"GITHUB_{name}": str(self.folder / name) for name in ("STEP_SUMMARY", "PATH")},
            **{"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(self.workspace), "RUNNER_TEMP": str(self.folder)},
            **variables,
        }
        environment["PATH"] = os.pathsep.join([*reversed(added), environment["PATH"]])
        # GitHub gives a script to bash in this way.
        script = self.folder / "script.sh"
        script.write_text(step["run"], encoding="utf-8")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.workspace,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return Result(done.returncode, done.stdout)
