"""Killed, or failed by the disk, at every system call that changes something: nothing is lost, and the next run does the rest."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace, needs
from tests.plan.manual import copies
from tests.torture.conftest import Some
from tests.torture.faults import Point, fault, points, traced
from tests.torture.sound import Sound

NUMBER = 20
RULES = copies("export/{{ PatientID }}/{{ SeriesDescription }}/{{ InstanceNumber }}.dcm")


@pytest.fixture
def small(tmp_path: Path, instance: Instance) -> Sound:
    """Twenty files of three series."""
    for number in range(NUMBER):
        series = {"SeriesDescription": f"S{number % 3}", "SeriesInstanceUID": f"1.2.{number % 3}"}
        instance(f"original/data/{number}.dcm", InstanceNumber=number, pixels=os.urandom(2) * 10_000, **series)
    Workplace(tmp_path / "original").rules(RULES)
    return Sound(tmp_path, NUMBER)


@pytest.fixture
def every(small: Sound) -> list[Point]:
    """Every call of a run that is let alone."""
    needs("strace", shutil.which("strace") is not None)
    small.anew()
    assert traced(small.folder, ("apply",)).returncode == 0
    small.assert_complete()
    found = points(small.folder)
    assert len(found) >= 300
    return found


@contextmanager
def at(point: Point) -> Iterator[None]:
    """Says where it was, if something is wrong."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"at {point}")
        raise


@pytest.mark.parametrize("quarter", range(4))
def test_a_kill(small: Sound, every: list[Point], some: Some[Point], quarter: int) -> None:
    for point in some(every, 12)[quarter::4]:
        small.anew()
        with at(point):
            traced(small.folder, ("apply",), fault(point, "signal=KILL"))
            small.assert_sound()
            small.assert_next_run_does_the_rest()


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_error(small: Sound, every: list[Point], some: Some[Point], error: str, quarter: int) -> None:
    for point in some(every, 8)[quarter::4]:
        small.anew()
        with at(point):
            run = traced(small.folder, ("apply",), fault(point, f"error={error}"))
            assert "Traceback" not in run.stderr, run.stderr
            small.assert_sound()
            if run.returncode == 0:
                small.assert_complete()
            else:
                assert run.stderr
                small.assert_next_run_does_the_rest()
