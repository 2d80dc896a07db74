"""Killed, or failed by the disk, at every system call that changes something: nothing is lost, and the next run does the rest."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace, needs
from tests.plan.manual import copies
from tests.torture.conftest import Some
from tests.torture.faults import Point, fault, injected, points, traced
from tests.torture.sound import Sound

NUMBER = 20
Completed = subprocess.CompletedProcess[str]
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


def struck(small: Sound, point: Point, what: str, hit: Callable[[Completed], bool]) -> Completed | None:
    """Apply with a fault at a point; try again if the run did not come there, as threads share their work otherwise each time."""
    for _ in range(3):
        small.anew()
        run = traced(small.folder, ("apply",), fault(point, what))
        if hit(run):
            return run
    return None


def assert_few(missed: list[Point], points: Sequence[Point]) -> None:
    """The last calls of a thread come only if it gets as much of the work as it got when the calls were counted."""
    assert len(missed) <= max(1, len(points) // 10), f"no fault at {missed}"
    assert len(missed) < len(points)


@pytest.mark.parametrize("quarter", range(4))
def test_a_kill(small: Sound, every: list[Point], some: Some[Point], quarter: int) -> None:
    chosen, missed = some(every, 12)[quarter::4], list[Point]()
    for point in chosen:
        with at(point):
            if struck(small, point, "signal=KILL", lambda run: run.returncode == -signal.SIGKILL) is None:
                missed.append(point)
                continue
            small.assert_sound()
            small.assert_next_run_does_the_rest()
    assert_few(missed, chosen)


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_error(small: Sound, every: list[Point], some: Some[Point], error: str, quarter: int) -> None:
    chosen, missed = some(every, 8)[quarter::4], list[Point]()
    for point in chosen:
        with at(point):
            run = struck(small, point, f"error={error}", lambda _: injected(small.folder))
            if run is None:
                missed.append(point)
                continue
            assert "Traceback" not in run.stderr, run.stderr
            small.assert_sound()
            if run.returncode == 0:
                small.assert_complete()
            else:
                assert run.stderr
                small.assert_next_run_does_the_rest()
    assert_few(missed, chosen)
