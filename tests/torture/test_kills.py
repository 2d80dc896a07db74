"""Killed at a hundred random moments of a run over two thousand files: right after each kill all is sound."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace
from tests.plan.manual import copies
from tests.torture.conftest import Some
from tests.torture.sound import Sound

RULES = copies("export/{{ PatientID }}/{{ SeriesDescription }}/{{ InstanceNumber }}.dcm")


@pytest.fixture
def many(request: pytest.FixtureRequest, tmp_path: Path, instance: Instance) -> Sound:
    """Two thousand files, or fewer."""
    number = 2000 if request.config.getoption("torture") else 300
    for each in range(number):
        series = {"SeriesDescription": f"S{each % 20}", "SeriesInstanceUID": f"1.2.{each % 20}"}
        instance(f"original/data/{each}.dcm", InstanceNumber=each, pixels=random.Random(each).randbytes(4000), **series)
    Workplace(tmp_path / "original").rules(RULES)
    return Sound(tmp_path, number)


def test_random_kills(many: Sound, some: Some[int]) -> None:
    moments, caught = random.Random(4), 0
    many.anew()
    for _ in some(range(100), 5):
        before = len(list(many.placed()))
        if before == many.number:
            many.assert_next_run_does_the_rest()
            many.anew()
            before = 0
        enough, polls = before + moments.randrange(1, many.number // 4), moments.randrange(20)
        command = [sys.executable, "-m", "pyconquest_rules", "apply"]
        with subprocess.Popen(command, cwd=many.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            while run.poll() is None and sum(1 for _ in many.placed()) < enough:
                pass
            for _ in range(polls):
                sum(1 for _ in many.placed())
            run.kill()
        caught += run.returncode != 0
        many.assert_sound()
    assert caught, "no run was killed: nothing was tested"
    many.assert_next_run_does_the_rest()
