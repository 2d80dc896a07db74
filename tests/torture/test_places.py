"""Where others have been, or are: a second run writes nothing, a locked index is waited for, a clock may jump."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pyconquest_rules.engine import recorded
from pyconquest_rules.index.store import rows
from tests.conftest import Instance, Workplace, needs
from tests.plan.manual import copies
from tests.torture.faults import calls, traced

TO = "export/{{ PatientID }}/{{ InstanceNumber }}.dcm"


@pytest.fixture
def three(workplace: Workplace, instance: Instance) -> Workplace:
    for number in (1, 2, 3):
        instance(f"data/{number}.dcm", InstanceNumber=number)
    return workplace.rules(copies(TO))


@pytest.mark.parametrize("mode", ["copy", "hardlink", "symlink", "move"])
def test_a_second_run_writes_nothing_below_the_destination(three: Workplace, mode: str) -> None:
    needs("strace", shutil.which("strace") is not None)
    three.rules(copies(TO, mode=mode))
    assert three.run("apply").code == 0
    assert traced(three.folder, ("apply",), "--decode-fds=path").returncode == 0
    writing = [
        (name, arguments)
        for _, name, arguments in calls(three.folder)
        if f"{three.folder}/export" in arguments and (name != "openat" or "O_RDONLY" not in arguments)
    ]
    assert writing == []


# Holds the index, as somebody who has it open in another program may.
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


def test_an_index_that_is_locked_is_waited_for(three: Workplace, instance: Instance) -> None:
    assert three.run("apply").code == 0
    instance("data/4.dcm", InstanceNumber=4)
    hold = [sys.executable, "-c", HOLD, str(three.folder / "conquest.db")]
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "locked\n"
        command = [sys.executable, "-m", "pyconquest_rules", "apply", "--json"]
        with subprocess.Popen(command, cwd=three.folder, stdout=subprocess.PIPE, text=True) as waiting:
            while not waiting_for_a_lock(waiting.pid):
                assert waiting.poll() is None
            holder.stdin.write("\n")
            holder.stdin.flush()
            assert waiting.wait() == 0
    assert len(three.files("export")) == 4


def waiting_for_a_lock(process: int) -> bool:
    """Whether a process sleeps, with the index open: SQLite looks again after a while."""
    try:
        opened = [os.readlink(f"/proc/{process}/fd/{each}") for each in os.listdir(f"/proc/{process}/fd")]
        return "hrtimer_nanosleep" in Path(f"/proc/{process}/wchan").read_text() and any("conquest.db" in name for name in opened)
    except OSError:
        return False


def test_an_index_that_stays_locked_ends_the_run_with_what_to_do(three: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert three.run("index").code == 0
    monkeypatch.setattr("pyconquest_rules.index.store.opening.BUSY_SECONDS", 0)
    (three.folder / "data/1.dcm").touch()
    with closing(sqlite3.connect(three.folder / "conquest.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        refused = three.run("apply")
    assert refused.code != 0
    assert "is locked by another program; end that program, or try again later" in refused.err
    assert three.run("apply").code == 0
    assert len(three.files("export")) == 3


def test_a_clock_that_goes_back_a_day_changes_nothing(
    three: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert three.run("apply", "--json").summary["done"] == 3

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) - timedelta(days=1)

    monkeypatch.setattr(recorded, "datetime", Yesterday)
    monkeypatch.setattr(rows, "time", lambda: time.time() - 86400)
    assert three.run("apply", "--json").summary["done"] == 0
    file = instance("data/4.dcm", InstanceNumber=4)
    os.utime(file, (time.time() - 86400,) * 2)
    assert three.run("apply", "--json").summary["done"] == 1
    assert [run["done"] for run in three.run("history", "--json").lines[:-1]] == [1, 0, 3]
    assert three.run("verify", "--deep", "--json").summary["ok"] == 4
