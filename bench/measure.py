"""One measured run of a command as a whole process: wall time, CPU time and peak memory, as the system counts them."""

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
    """A run that did not do what it should have done: no figure of it counts."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run cost: seconds, and bytes. `output` is what it wrote to standard output."""

    wall: float
    cpu: float
    peak: int
    output: str = ""


def measured(
    command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str] | None = None, one_cpu: bool = False
) -> Sample:
    """Runs a command. Its CPU time is that of all its processes, its peak memory that of the largest of them.

    Raises Failed where it exits with anything but 0; what it wrote to standard error is in the text.
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
    """Runs a command outside what is measured, or by a launcher; gives what it prints. Raises Failed as `measured` does."""
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
    """Several commands one after another as one run."""
    wall, cpu = sum(sample.wall for sample in samples), sum(sample.cpu for sample in samples)
    return Sample(wall, cpu, max(sample.peak for sample in samples))


def middle(samples: Sequence[Sample], by: Callable[[Sample], float]) -> Sample:
    """The run in the middle (of an even number the quicker one)."""
    return sorted(samples, key=by)[(len(samples) - 1) // 2]


def clean_environment() -> dict[str, str]:
    """The environment without what would make one run another than the next: Python may keep the bytecode that it makes."""
    left_out = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYCONQUEST_RULES", "EXPORT_ROOT")
    return {name: value for name, value in os.environ.items() if name not in left_out}


def has_affinity() -> bool:
    """Whether the system can keep a process on one processor."""
    return hasattr(os, "sched_setaffinity")
