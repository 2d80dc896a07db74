"""What a run cost is what the system says of all its processes; a run that failed has no figures."""

import sys
from pathlib import Path

import pytest

from bench.measure import Failed, Sample, measured, middle, together

BUSY = "import time; end = time.process_time() + 0.1\nwhile time.process_time() < end: pass"


def python(code: str, folder: Path) -> Sample:
    return measured([sys.executable, "-c", code], cwd=folder)


def test_a_run_has_its_output_its_cpu_time_and_its_memory(tmp_path: Path) -> None:
    sample = python(f"{BUSY}\nlarge = b'1' * 200_000_000\nprint('done')", tmp_path)
    assert sample.output == "done\n"
    assert sample.cpu >= 0.1
    assert sample.peak >= 200_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
def test_processes_that_a_run_leaves_behind_count(tmp_path: Path) -> None:
    sample = python(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BUSY!r}])", tmp_path)
    assert sample.cpu >= 0.1


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"exit code 1\n.*no such thing"):
        python("raise SystemExit('no such thing')", tmp_path)


def test_the_run_in_the_middle_counts() -> None:
    samples = [Sample(wall, 0.0, 0) for wall in (3.0, 9.0, 1.0, 2.0, 8.0)]
    assert middle(samples, lambda sample: sample.wall).wall == 3.0


def test_commands_one_after_another_cost_what_each_costs() -> None:
    assert together(Sample(1.0, 0.5, 10), Sample(2.0, 0.25, 30)) == Sample(3.0, 0.75, 30)
