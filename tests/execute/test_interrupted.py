"""Runs that are killed, interrupted, or not alone: no half file under a final name, and the next run does exactly the rest."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest

from pyconquest_rules.engine.lock import locked
from pyconquest_rules.errors import Locked
from tests.conftest import Instance, Workplace
from tests.execute.processes import applying
from tests.plan.manual import copies

NUMBER = 300
TO = "export/{{ PatientID }}/{{ SeriesDescription }}/{{ InstanceNumber }}.dcm"


@pytest.fixture
def many(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with files enough for a run to be caught in the middle, indexed."""
    for number in range(NUMBER):
        # The description is of the series, so each folder is one.
        series = {"SeriesDescription": f"S{number % 10}", "SeriesInstanceUID": f"1.2.{number % 10}"}
        instance(f"data/{number}.dcm", InstanceNumber=number, pixels=os.urandom(2) * 50_000, **series)
    workplace.rules(copies(TO))
    assert workplace.run("index").code == 0
    return workplace


def wait_for(process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
    """Looks again and again; a process that ended will do nothing more."""
    while process.poll() is None and not happened():
        pass


def placed(workplace: Workplace) -> dict[str, Path]:
    """The files under final names, by the number of their instance."""
    return {file.stem: file for file in (workplace.folder / "export").rglob("*.dcm")}


def left_over(workplace: Workplace) -> list[Path]:
    return [*(workplace.folder / "export").rglob("*.part")]


def assert_whole(workplace: Workplace, files: dict[str, Path]) -> None:
    for number, file in files.items():
        assert file.read_bytes() == (workplace.folder / f"data/{number}.dcm").read_bytes()


def test_after_a_kill_at_any_moment_the_next_run_does_exactly_the_rest(many: Workplace) -> None:
    moments, checked, caught = random.Random(6), set[str](), 0
    for _ in range(20):
        enough, polls = len(checked) + moments.randrange(10), moments.randrange(5)
        with applying(many) as process:
            wait_for(process, lambda enough=enough: len(placed(many)) >= enough)  # type: ignore[misc]
            for _ in range(polls):
                placed(many)
            process.send_signal(signal.SIGKILL)
        files = placed(many)
        assert_whole(many, {number: file for number, file in files.items() if number not in checked})
        checked |= files.keys()
        caught += process.returncode == -signal.SIGKILL and bool(left_over(many))
        if len(checked) == NUMBER:  # from the beginning
            shutil.rmtree(many.folder / "export")
            checked.clear()
    plan = many.run("plan", "--json").summary["reasons"]
    assert plan.get("unchanged:done", 0) + plan.get("todo:adopt", 0) == len(checked)
    assert sum(plan.values()) == NUMBER
    assert caught, "no kill came while a file was being written: nothing was tested"

    last = many.run("apply", "--json")
    assert (last.code, last.summary["done"] + last.summary["unchanged"]) == (0, NUMBER)
    assert left_over(many) == []
    assert len(placed(many)) == NUMBER
    assert_whole(many, placed(many))
    assert many.run("plan", "--detailed-exitcode").code == 0
    assert many.run("verify", "--deep", "--json").summary == {
        "event": "summary", "ok": NUMBER, "missing": 0, "changed": 0, "extra": 0, "outside": 0
    }  # fmt: skip


def test_history_tells_of_a_run_that_was_killed(many: Workplace) -> None:
    with applying(many) as process:
        wait_for(process, lambda: bool(placed(many)))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    run = many.run("history", "--json").lines[0]
    assert (run["finished"], run["ending"]) == (None, None)
    assert "killed?" in many.run("history").out


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_records_the_files_in_flight_and_ends(many: Workplace, asked: signal.Signals) -> None:
    with applying(many) as process:
        wait_for(process, lambda: len(placed(many)) > 20)
        process.send_signal(asked)
        assert process.wait() == 130
    files = placed(many)
    assert left_over(many) == []
    assert_whole(many, files)
    plan = many.run("plan", "--json").summary
    assert plan["reasons"] == {"unchanged:done": len(files), "todo:new": NUMBER - len(files)}
    assert many.run("history", "--json").lines[0]["ending"] == "interrupted"
    assert many.run("apply", "--json").summary["done"] == NUMBER - len(files)


def test_two_runs_at_once_are_one_too_many_and_a_killed_one_needs_no_unlock(many: Workplace) -> None:
    with applying(many) as process:
        wait_for(process, lambda: bool(placed(many)))
        process.send_signal(signal.SIGSTOP)
        assert process.poll() is None
        refused = many.run("apply", "--json")
        assert (refused.code, refused.summary["exit_code"]) == (6, 6)
        assert "another run of this rules file is going on" in refused.err
        # Who only looks need not wait.
        assert many.run("plan").code == 0
        assert many.run("history").code == 0
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(placed(many)) < NUMBER
    assert many.run("apply").code == 0
    assert len(placed(many)) == NUMBER


def test_who_reads_headers_for_a_run_does_not_hold_its_lock_on_when_it_is_killed(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(Locked), locked(tmp_path):
            pass
        begun, ended = get_context("fork").Event(), get_context("fork").Event()

        def work() -> None:
            begun.set()
            ended.wait(60)

        worker = get_context("fork").Process(target=work)
        worker.start()
        assert begun.wait(60)
    with locked(tmp_path):
        assert worker.is_alive()
    ended.set()
    worker.join()


def test_what_a_killed_run_left_in_a_folder_goes_with_the_next_step_there(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", InstanceNumber=1)
    workplace.rules(copies("export/{{ InstanceNumber }}.dcm"))
    assert workplace.run("apply").code == 0
    names = (state_name(workplace), "01234567")
    ours, theirs = (workplace.folder / f"export/.pyconquest-rules-{name}-7.part" for name in names)
    ours.write_bytes(b"half")
    theirs.write_bytes(b"of another rules file")
    assert workplace.run("verify", "--json").summary["extra"] == 2
    instance("data/2.dcm", InstanceNumber=2)
    assert workplace.run("apply").code == 0
    assert (ours.exists(), theirs.exists()) == (False, True)


def state_name(workplace: Workplace) -> str:
    """By which its temporary files are known."""
    with closing(sqlite3.connect(workplace.folder / ".pyconquest-rules/state.db")) as connection:
        return str(connection.execute("SELECT value FROM state WHERE key = 'name'").fetchone()[0])
