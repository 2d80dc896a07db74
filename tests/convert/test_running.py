"""One command in one folder: how it ends, and that nothing of it stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyconquest_rules.kinds.convert.running import Stopped, run
from tests.convert.commands import long_time, needs_landlock, running, shell
from tests.waiting import until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a command, in a folder of its own."""
    made = tmp_path / "above/work"
    (made / "tmp").mkdir(parents=True)
    return made


def log(folder: Path) -> Path:
    return folder.parent / "log"


def ended(folder: Path, script: str, **limits: float) -> str | None:
    return run(shell(script, **limits), folder, log(folder), lambda: False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("true", None),
        ("exit 3", "the command exited with 3"),
        ("kill -KILL $$", "the command was killed by SIGKILL"),
        ("kill -SEGV $$", "the command was killed by SIGSEGV"),
        ("exec dd if=/dev/zero of=large bs=1M count=64", "the command wrote a file that is too large"),
        (
            "i=0; while :; do i=$((i+1)); head -c 500000 /dev/zero > $i; done",
            "the command wrote more than 8 MiB, or too many files",
        ),
        ("exec yes", "the command wrote a file that is too large"),
        ("for i in $(seq 40); do sleep 1000 & done; wait", "the command had more than 20 processes"),
        (f"{sys.executable} -c 'bytearray(4 << 30)'", "the command exited with 1"),
    ],
)
def test_how_it_ends(folder: Path, script: str, why: str | None) -> None:
    assert ended(folder, script) == why


def test_exit_codes_that_count_as_success(folder: Path) -> None:
    command = shell("exit 3", success=(0, 3))
    assert run(command, folder, log(folder), lambda: False) is None


def test_a_program_that_cannot_be_started(folder: Path) -> None:
    (folder / "script").write_text("no interpreter")
    command = shell("true")
    for program, why in (
        ("/nowhere/x", "No such file"),
        (str(folder / "script"), "Permission denied"),
        ("/bin", "Permission denied"),
    ):
        log(folder).unlink(missing_ok=True)
        found = run(type(command)(program, ["x"], {}, command.success, command.limits), folder, log(folder), lambda: False)
        assert found is not None
        assert found.startswith(f"the command could not be started: {why}")


def test_what_it_prints_is_in_the_log_for_this_user_alone(folder: Path) -> None:
    assert ended(folder, "echo out; echo error >&2; exit 1") == "the command exited with 1"
    assert log(folder).read_bytes() == b"out\nerror\n"
    assert log(folder).stat().st_mode & 0o777 == 0o600


def test_its_environment_is_clean(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the user")
    assert ended(folder, "env | sort; pwd; umask; ulimit -c; cat") is None
    text = log(folder).read_text().splitlines()
    assert text == [
        f"HOME={folder}",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        f"PWD={folder}",
        f"TMPDIR={folder}/tmp",
        str(folder),
        "0077",
        "0",
    ]


@pytest.mark.parametrize(
    "script",
    [
        "sleep LONG",
        "trap '' TERM INT HUP; sleep LONG; sleep LONG",
        "setsid sleep LONG & sleep LONG",
        "(setsid setsid sh -c 'trap \"\" TERM; sleep LONG; sleep LONG' &); sleep LONG",
    ],
)
def test_what_hangs_is_killed_with_all_that_it_started(folder: Path, script: str) -> None:
    long = long_time()
    began = time.monotonic()
    assert ended(folder, script.replace("LONG", long), seconds=0.5) == "the command took longer than 0.5 seconds"
    assert time.monotonic() - began < 10
    assert running(long) == []


@pytest.mark.parametrize("script", ["sleep LONG &", "setsid sleep LONG &", "(setsid sh -c 'sleep LONG & sleep LONG' &)"])
def test_no_process_outlives_the_command(folder: Path, script: str) -> None:
    long = long_time()
    assert ended(folder, script.replace("LONG", long)) is None
    assert running(long) == []


def test_processes_that_multiply_are_killed(folder: Path) -> None:
    long = long_time()
    script = f"while :; do sh -c 'sleep {long} & sleep {long} &' & done"
    assert ended(folder, script) == "the command had more than 20 processes"
    assert running(long) == []


def test_an_interrupt_ends_the_command(folder: Path) -> None:
    long = long_time()
    began = time.monotonic()
    with pytest.raises(Stopped):
        run(shell(f"trap '' TERM; sleep {long}; sleep {long}"), folder, log(folder), lambda: time.monotonic() > began + 0.5)
    assert time.monotonic() - began < 10
    assert running(long) == []


def test_a_killed_caller_leaves_no_process(folder: Path) -> None:
    long = long_time()
    program = (
        "import sys; from pathlib import Path; from tests.convert.commands import shell; "
        "from pyconquest_rules.kinds.convert.running import run; "
        f"run(shell('setsid sleep {long} & sleep {long}'), Path(sys.argv[1]), Path(sys.argv[2]), lambda: False)"
    )
    caller = subprocess.Popen([sys.executable, "-c", program, str(folder), str(log(folder))])
    until(lambda: len(running(long)) > 2)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    until(lambda: running(long) == [])


def test_a_command_that_kills_its_parent_is_a_failure(folder: Path) -> None:
    assert ended(folder, "kill -KILL $PPID; sleep 0.2") == "the command ended the program that watches it"


@pytest.mark.parametrize(
    "script",
    [
        "echo x > ../escaped",
        "echo x > /tmp/escaped-of-pyconquest-rules",
        "echo x >> ../source.dcm",
        "rm -f ../source.dcm; test ! -e ../source.dcm",
        "mv ../source.dcm taken",
        "ln ../source.dcm taken",
        "ln -s ../source.dcm link && echo x > link",
        "mkdir ../folder",
        "mkfifo ../pipe",
    ],
)
def test_it_can_write_only_in_its_folder(folder: Path, script: str) -> None:
    needs_landlock()
    (folder.parent / "source.dcm").write_bytes(b"source")
    assert ended(folder, script) is not None
    assert sorted(os.listdir(folder.parent)) == ["log", "source.dcm", "work"]
    assert (folder.parent / "source.dcm").read_bytes() == b"source"
    assert not Path("/tmp/escaped-of-pyconquest-rules").exists()


def test_it_can_do_what_it_wants_in_its_folder(folder: Path) -> None:
    script = "mkdir -p a/b; echo x > a/b/c; mv a/b/c d; ln d e; ln -s d f; mkfifo g; rm e; cat d > /dev/null; mktemp; mktemp -p ."
    assert ended(folder, script) is None, log(folder).read_text()
    assert {"a", "d", "f", "g", "tmp"} <= {*os.listdir(folder)}
