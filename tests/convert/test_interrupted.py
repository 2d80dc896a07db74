"""Conversions that are killed or interrupted: nothing half-made stays, and the next run ends what was begun."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Workplace
from tests.convert.commands import long_time, running
from tests.convert.conftest import JOIN, SERIES, Script
from tests.convert.test_convert import FILES, apply, nothing_is_left
from tests.kinds import running as processes
from tests.waiting import until

program = partial(processes.program, "")


def hanging(long: str) -> str:
    """A program that hangs at one of the series."""
    return f'{JOIN}grep -q 10.1.1 "$1" && {{ sleep {long} & sleep {long}; }}\nexit 0\n'


def begun(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Begin to apply in a process of its own."""
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"], "NO_COLOR": "1"}
    command = [sys.executable, "-m", "pyconquest_rules", "apply", "--allow-commands", "--json", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def visible(workplace: Workplace) -> set[str]:
    """The files that have their names."""
    return {name for name in workplace.files("out") if not name.endswith(".part")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_commands(converting: Workplace, script: Script, number: signal.Signals) -> None:
    long = long_time()
    script(hanging(long))
    run = begun(converting.folder)
    until(lambda: len(running(long)) >= 2)
    run.send_signal(number)
    out, _ = run.communicate(timeout=30)
    assert run.returncode == 130, out
    assert b"the run was interrupted before the command ended" in out
    assert running(long) == []
    assert nothing_is_left(converting)
    script(JOIN)
    apply(converting)
    assert visible(converting) == FILES


def test_a_killed_run_leaves_no_process_and_the_next_one_cleans_up(converting: Workplace, script: Script) -> None:
    long = long_time()
    script(hanging(long))
    run = begun(converting.folder)
    until(lambda: len(running(long)) >= 2)
    run.kill()
    run.communicate()
    until(lambda: running(long) == [])
    assert (converting.folder / ".pyconquest-rules/work").exists()
    assert visible(converting) <= FILES - {"P1/1.bin", "P1/1.txt"}
    script(JOIN)
    apply(converting)
    assert visible(converting) == FILES
    assert nothing_is_left(converting)
    assert converting.run("verify", "--deep", "--json").summary["ok"] == 2 * SERIES


@pytest.mark.parametrize(
    "kill",
    [("os", "link", 3), ("os", "symlink", 6), ("Ledger", "intend_to_place", 2), ("Ledger", "record", 2), ("Runs", "finish", 1)],
)
def test_a_run_killed_anywhere_is_gone_on_with(converting: Workplace, script: Script, kill: tuple[str, str, int]) -> None:
    script(JOIN.replace("cat /proc/sys/kernel/random/uuid", "echo same"))  # so that the results can be compared
    assert converting.run("index").code == 0
    done = program(converting.folder, "apply", "--allow-commands", "--no-index", kill=kill)
    assert done.returncode == -signal.SIGKILL, done.stderr
    placed = visible(converting)
    assert apply(converting)["done"] == 2 * SERIES - len(placed)
    assert visible(converting) == FILES
    assert nothing_is_left(converting)
    for series in range(SERIES):
        assert converting.files("out")[f"P1/{series}.txt"] == b"same\n"
        assert converting.files("out")[f"P1/{series}.bin"].count(b"DICM") == 4
    assert converting.run("verify", "--deep", "--json").summary["ok"] == 2 * SERIES
    assert converting.run("plan", "--detailed-exitcode").code == 0


def test_a_hanging_command_does_not_stop_the_others(converting: Workplace, script: Script) -> None:
    long = long_time()
    script(hanging(long))
    rules = (converting.folder / "rules.toml").read_text()
    (converting.folder / "rules.toml").write_text(rules.replace("command =", "timeout = 1\ncommand ="))
    done = converting.run("apply", "--allow-commands", "--json")
    assert (done.code, done.summary["converted"], done.summary["failed"]) == (1, 2 * SERIES - 2, 2)
    assert {line["message"].partition(";")[0] for line in done.lines if line["event"] == "failed"} == {
        "the command took longer than 1 seconds"
    }
    assert running(long) == []
    assert visible(converting) == FILES - {"P1/1.bin", "P1/1.txt"}
    assert nothing_is_left(converting)
