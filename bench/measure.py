"""Measure one run of a command: wall time, CPU time and peak memory, as the system counts them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")


class Failed(Exception):
    """A run did not do its task, so its figures do not count."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one run, in seconds and bytes. `output` is its standard output."""

    wall: float
    cpu: float
    peak: int
    output: str = ""


def measured(
    command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str] | None = None, one_cpu: bool = False
) -> Sample:
    """Run a command and measure it. The CPU time is that of all its processes, the peak memory that of the largest one.

    Raises Failed, with the standard error of the command, if its exit code is not 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder, "figures.json")
        launcher = (sys.executable, "-I", LAUNCHER, figures, "one" if one_cpu else "all")
        done = outside(command, cwd, environment, launcher)
        return Sample(**json.loads(figures.read_text(encoding="utf-8")), output=done)


def outside(
    command: Sequence[str | Path],
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    launcher: Sequence[str | Path] = (),
) -> str:
    """Run a command without measuring it, or with a launcher, and return its output. Raises Failed as `measured` does."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        every = {**clean_environment(), **(environment or {})}
        done = subprocess.run(
            [*launcher, *command], cwd=cwd, env=every, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, check=False
        )
        if done.returncode:
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip()
            raise Failed(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{text}")
        output.seek(0)
        return output.read().decode(errors="replace")


def together(*samples: Sample) -> Sample:
    """Return the runs of several commands, one after another, as one run."""
    wall, cpu = sum(sample.wall for sample in samples), sum(sample.cpu for sample in samples)
    return Sample(wall, cpu, max(sample.peak for sample in samples))


def middle(samples: Sequence[Sample], by: Callable[[Sample], float]) -> Sample:
    """Return the median run; of an even number, the faster of the two in the middle."""
    return sorted(samples, key=by)[(len(samples) - 1) // 2]


def clean_environment() -> dict[str, str]:
    """Return the environment without variables that affect a run. Python must be able to keep its bytecode."""
    left_out = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYCONQUEST_RULES", "EXPORT_ROOT")
    return {name: value for name, value in os.environ.items() if name not in left_out}


def has_affinity() -> bool:
    """Return whether the system can keep a process on one processor."""
    return hasattr(os, "sched_setaffinity")
