"""Run one command in one folder, within limits: see `supervisor`, which is the parent of its processes."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUPERVISOR = Path(__file__).with_name("supervisor.py")
MOMENT = 0.1  # seconds between two questions whether to stop


@dataclass(frozen=True, slots=True)
class Limits:
    """What one command may use: seconds, bytes of its files, bytes of memory of each process, and processes at a time."""

    seconds: float
    output: int
    memory: int
    processes: int


@dataclass(frozen=True, slots=True)
class Command:
    """A program, its arguments, and its environment. `success` are the exit codes that count as success."""

    program: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    success: frozenset[int]
    limits: Limits


class Stopped(Exception):
    """The run was interrupted, so the command was ended."""


def run(command: Command, folder: Path, log: Path, stop: Callable[[], bool]) -> str | None:
    """Run a command in a folder. Return why it failed, without a value of a patient; None if it succeeded.

    What it prints goes to the new file `log`. It can write only below the folder, if the kernel has Landlock. When this returns,
    no process of it is left. Raises Stopped when `stop` returns True, and OSError.
    """
    order = {
        "program": command.program,
        "arguments": [*command.arguments],
        "environment": {**command.environment, "HOME": str(folder), "TMPDIR": str(folder / "tmp")},
        "folder": str(folder),
        "log": str(log),
        "seconds": command.limits.seconds,
        "output": command.limits.output,
        "memory": command.limits.memory,
        "processes": command.limits.processes,
    }
    answer = _answer(json.dumps(order).encode() + b"\n", stop)
    match answer.get("ended"):
        case "itself" if answer["code"] in command.success:
            return None
        case "itself" if answer["code"] < 0:
            return _killed(-answer["code"])
        case "itself":
            return f"the command exited with {answer['code']}"
        case "caller":
            raise Stopped
        case "seconds":
            return f"the command took longer than {command.limits.seconds:g} seconds"
        case "output":
            return f"the command wrote more than {command.limits.output >> 20:,} MiB, or too many files"
        case "processes":
            return f"the command had more than {command.limits.processes:,} processes"
        case "start":
            return f"the command could not be started: {answer['why']}"
    return "the command ended the program that watches it"


def _killed(number: int) -> str:
    if number == signal.SIGXFSZ:
        return "the command wrote a file that is too large"
    try:
        return f"the command was killed by {signal.Signals(number).name}"
    except ValueError:
        return f"the command was killed by signal {number}"


def _answer(order: bytes, stop: Callable[[], bool]) -> dict[str, Any]:
    """Return what the supervisor answers to an order; nothing if it was killed."""
    supervisor = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-S", str(SUPERVISOR)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"LC_ALL": "C.UTF-8"},
        start_new_session=True,  # Ctrl-C in a terminal is for this process alone
    )
    answer = b""
    with supervisor:
        assert supervisor.stdin is not None  # noqa: S101 - pipes
        assert supervisor.stdout is not None  # noqa: S101
        with suppress(BrokenPipeError):
            supervisor.stdin.write(order)
            supervisor.stdin.flush()
        output = supervisor.stdout.fileno()
        while True:
            if select.select([output], [], [], MOMENT)[0]:
                if not (block := os.read(output, 1 << 16)):
                    break
                answer += block
            elif not supervisor.stdin.closed and stop():
                supervisor.stdin.close()
    return dict(json.loads(answer)) if answer else {}
