"""Killed, or failed by the disk, at every system call that changes something: nothing is lost, and the next run does the rest."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace, needs
from tests.plan.manual import copies
from tests.torture.conftest import Some
from tests.torture.faults import Point, fault, points, traced

NUMBER = 20
RULES = copies("export/{{ PatientID }}/{{ SeriesDescription }}/{{ InstanceNumber }}.dcm")


class Small:
    """A small collection, to be made anew for each fault."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.original = folder / "now", folder / "original"
        self.original.mkdir()
        self.workplace = Workplace(self.folder)
        Workplace(self.original).rules(RULES)

    def anew(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.original, self.folder)

    def assert_sound(self) -> int:
        """What must hold after anything: sources as they were, whole files, true rows. Gives how many the ledger has."""
        sources = Workplace(self.original).files("data")
        assert self.workplace.files("data") == sources
        placed = {name: data for name, data in self.workplace.files("export").items() if name.endswith(".dcm")}
        assert all(data == sources[os.path.basename(name)] for name, data in placed.items())
        recorded = self.recorded()
        assert recorded <= placed.keys()
        return len(recorded)

    def recorded(self) -> set[str]:
        """What the ledger says is done; a database that was just being made has nothing in it."""
        ledger = self.folder / ".pyconquest-rules/state.db"
        if not ledger.exists() or not ledger.stat().st_size:
            return set()
        with closing(sqlite3.connect(ledger)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'done'").fetchall()
            rows = connection.execute("SELECT destination FROM done").fetchall() if tables else []
        return {name.removeprefix("export/") for (name,) in rows}

    def assert_complete(self) -> None:
        """Everything is done, recorded and proved, and nothing is left over or to be done."""
        assert self.assert_sound() == NUMBER
        assert len(self.workplace.files("export")) == NUMBER
        assert self.workplace.run("query", "select count(*) as n from images", "--json").lines[0]["values"] == {"n": NUMBER}
        assert self.workplace.run("verify", "--deep", "--json").summary["ok"] == NUMBER
        assert self.workplace.run("plan", "--detailed-exitcode").code == 0

    def assert_next_run_does_the_rest(self, recorded: int) -> None:
        done = self.workplace.run("apply", "--json")
        assert done.code == 0, done.out + done.err
        assert done.summary["done"] == NUMBER - recorded
        self.assert_complete()


@pytest.fixture
def small(tmp_path: Path, instance: Instance) -> Small:
    made = Small(tmp_path)
    for number in range(NUMBER):
        series = {"SeriesDescription": f"S{number % 3}", "SeriesInstanceUID": f"1.2.{number % 3}"}
        instance(f"original/data/{number}.dcm", InstanceNumber=number, pixels=os.urandom(2) * 10_000, **series)
    return made


@pytest.fixture
def every(small: Small) -> list[Point]:
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


def test_a_kill(small: Small, every: list[Point], some: Some[Point]) -> None:
    for point in some(every, 10):
        small.anew()
        with at(point):
            traced(small.folder, ("apply",), fault(point, "signal=KILL"))
            small.assert_next_run_does_the_rest(small.assert_sound())


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_error(small: Small, every: list[Point], some: Some[Point], error: str) -> None:
    for point in some(every, 8):
        small.anew()
        with at(point):
            run = traced(small.folder, ("apply",), fault(point, f"error={error}"))
            assert "Traceback" not in run.stderr, run.stderr
            recorded = small.assert_sound()
            if run.returncode == 0:
                small.assert_complete()
            else:
                assert run.stderr
                small.assert_next_run_does_the_rest(recorded)
