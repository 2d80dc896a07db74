"""`then` of a listener: what fails is tried again, later and later, and a restart forgets no study."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO

import pytest

from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.lock import locked
from pyconquest_rules.kinds.listen.waiting import LONGEST, Waiting
from tests.conftest import Instance, Workplace
from tests.dcmtk import dcmtk
from tests.execute.listeners import RULES, listening, next_line, storescu
from tests.peers.processes import free_port


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_failed_try_waits_twice_as_long_each_time(tmp_path: Path) -> None:
    clock = Clock()
    waiting = Waiting(tmp_path, "inbox", 60.0, clock)
    assert waiting.came("1.2")
    assert not waiting.came("1.2")
    delays = []
    for _ in range(9):
        clock.now += waiting.seconds() or 0
        delays.append(waiting.again(waiting.due()))
    assert delays == [60, 120, 240, 480, 960, 1920, LONGEST, LONGEST, LONGEST]
    clock.now += LONGEST
    waiting.done(waiting.due())
    assert waiting.seconds() is None
    waiting.came("1.3")
    clock.now += 60
    assert waiting.again(waiting.due()) == 60  # a success begins anew


def test_a_study_is_due_when_it_was_quiet(tmp_path: Path) -> None:
    clock = Clock()
    waiting = Waiting(tmp_path, "inbox", 60.0, clock)
    waiting.came("1.2")
    clock.now += 59
    waiting.came("1.2")
    assert (waiting.due(), waiting.seconds()) == ([], 60)
    clock.now += 60
    assert waiting.due() == ["1.2"]
    assert waiting.due() == []


def test_a_run_for_a_new_study_does_what_failed_before(tmp_path: Path) -> None:
    clock = Clock()
    waiting = Waiting(tmp_path, "inbox", 60.0, clock)
    waiting.came("1.2")
    clock.now += 60
    for _ in range(5):
        waiting.again(waiting.due())
        clock.now += waiting.seconds() or 0
    waiting.again(waiting.due())
    waiting.came("1.3")
    clock.now += 60
    assert set(waiting.due()) == {"1.2", "1.3"}
    waiting.done(["1.2", "1.3"])
    assert Waiting(tmp_path, "inbox", 60.0).seconds() is None


def test_what_comes_while_then_runs_is_still_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    waiting = Waiting(tmp_path, "inbox", 60.0, clock)
    waiting.came("1.2")
    clock.now += 60
    studies = waiting.due()
    assert waiting.came("1.2")
    waiting.done(studies)
    assert waiting.seconds() == 60
    assert Waiting(tmp_path, "inbox", 60.0, clock).seconds() == 60


@pytest.mark.parametrize("studies", [[], ["1.2"], ["1.2", "1.3", "1.4"], [""], [f"1.{n}" for n in range(50)]])
def test_a_restart_has_the_studies_of_its_own_listener(tmp_path: Path, studies: list[str]) -> None:
    waiting = Waiting(tmp_path, "inbox", 60.0)
    for study in studies:
        waiting.came(study)
    Waiting(tmp_path, "other", 60.0).came("9")
    clock = Clock()
    again = Waiting(tmp_path, "inbox", 60.0, clock)
    assert again.due() == []
    clock.now += 60
    assert sorted(again.due()) == sorted(studies)


@pytest.fixture
def inbox(workplace: Workplace) -> Workplace:
    (workplace.folder / "archive").mkdir()
    return workplace.rules(RULES)


def waiting_in(workplace: Workplace) -> list[str]:
    with Ledger(workplace.folder) as ledger:
        return ledger.runs.waiting("inbox")


@contextmanager
def foreign_file(workplace: Workplace) -> Iterator[None]:
    """A file of somebody else's stands where the instance is to be copied."""
    (workplace.folder / "export").mkdir()
    file = workplace.folder / "export/1.2.3.dcm"
    file.write_text("of somebody else")
    yield
    file.unlink()


@contextmanager
def no_folder(workplace: Workplace) -> Iterator[None]:
    """A file stands where the folder of the copies is to be."""
    file = workplace.folder / "export"
    file.write_text("a file")
    yield
    file.unlink()


@contextmanager
def no_index_of_ours(workplace: Workplace) -> Iterator[None]:
    """The lock of the runs cannot be taken: a folder has its name."""
    (workplace.folder / ".pyconquest-rules").mkdir(exist_ok=True)
    (workplace.folder / ".pyconquest-rules/lock").mkdir()
    yield
    (workplace.folder / ".pyconquest-rules/lock").rmdir()


Trouble = Callable[[Workplace], AbstractContextManager[None]]
TROUBLES: list[tuple[Trouble, str]] = [
    (foreign_file, "1 blocked"),
    (no_folder, "1 "),
    (no_index_of_ours, ""),
    (lambda workplace: locked(workplace.folder), "another run of this rules file is going on"),
]


@pytest.mark.parametrize(("trouble", "reason"), TROUBLES, ids=["blocked", "failed", "error", "locked"])
@pytest.mark.parametrize("restart", [False, True], ids=["same", "restarted"])
def test_what_fails_is_tried_again(inbox: Workplace, instance: Instance, trouble: Trouble, reason: str, restart: bool) -> None:
    file = instance("sent/1.dcm", SOPInstanceUID="1.2.3", StudyInstanceUID="1.2.9")
    with listening(inbox) as (port, process):
        with trouble(inbox):
            assert storescu(port, file) == 0
            first, second = (next_line(process, "then_waits") for _ in range(2))
            assert first["reason"].startswith(reason)
            assert (first["seconds"], second["seconds"]) == (0.2, 0.4)
            assert waiting_in(inbox) == ["1.2.9"]
            if restart:
                process.kill()
                assert process.wait() == -signal.SIGKILL
        if not restart:
            while next_line(process, "ran")["done"] == 0:
                pass
    with listening(inbox) if restart else nullcontext((port, process)) as (_, process):
        if restart:
            assert next_line(process, "ran")["done"] == 1
            process.send_signal(signal.SIGTERM)
            next_line(process, "summary")
            assert process.wait(60) == 0
            assert waiting_in(inbox) == []
    assert [*inbox.files("export")] == ["1.2.3.dcm"]


def lines_until(stream: IO[str], words: str) -> Iterator[str]:
    """Lines up to the one that has some words. Fails where the stream ends before, and with what was printed."""
    lines: list[str] = []
    while not lines or words not in lines[-1]:
        lines.append(stream.readline())
        assert lines[-1], lines
        yield lines[-1]


def test_the_lines_of_the_log_have_their_time(inbox: Workplace, instance: Instance) -> None:
    files = [
        instance("sent/1.dcm", SOPInstanceUID="1.2.3"),
        instance("sent/2.dcm", PatientID=""),
        instance("sent/3.dcm", SOPInstanceUID="1.2.3", StudyDescription="other"),
    ]
    inbox.rules(RULES.replace("port = 0", "port = 0\nallow = ['STORESCU']"))
    command = [sys.executable, "-m", "pyconquest_rules", "listen"]
    process = subprocess.Popen(command, cwd=inbox.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = [process.stderr.readline()]
    port = int(re.findall(r":(\d+); Ctrl-C", lines[0])[0])
    with foreign_file(inbox):
        for file in files:
            storescu(port, file)
        subprocess.run(
            [dcmtk("echoscu"), "-aet", "OTHER", "-aec", "RULES", "127.0.0.1", str(port)], check=False, capture_output=True
        )
        lines += lines_until(process.stderr, "retry in")
    lines += lines_until(process.stderr, "done 1")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    lines += err.splitlines()
    assert out.count("\n") == 1
    assert len(lines) >= 7
    for line in [*lines, out]:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d \S", line), line


def test_a_quiet_listener_prints_trouble_alone(inbox: Workplace, instance: Instance) -> None:
    port = free_port()
    inbox.rules(RULES.replace("port = 0", f"port = {port}"))
    command = [sys.executable, "-m", "pyconquest_rules", "listen", "--quiet"]
    process = subprocess.Popen(command, cwd=inbox.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while storescu(port, instance("sent/1.dcm", SOPInstanceUID="1.2.3")) != 0:
        pass
    assert storescu(port, instance("sent/2.dcm", PatientID="")) != 0
    assert process.stderr is not None
    assert "refused" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("", "", 0)


def test_sigterm_while_then_runs_ends_the_listener(inbox: Workplace, instance: Instance) -> None:
    with listening(inbox) as (port, process):
        assert storescu(port, instance("sent/1.dcm", SOPInstanceUID="1.2.3")) == 0
        process.send_signal(signal.SIGTERM)
        assert next_line(process, "summary")["received"] == 1
        assert process.wait(60) == 0
    # Whether `then` ran or not, nothing is forgotten.
    assert waiting_in(inbox) == ["1.2.826.0.1.3680043.10.2.1"] or inbox.files("export")
