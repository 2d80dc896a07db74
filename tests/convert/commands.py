"""Commands for tests: scripts of the shell, and what is left of them."""

import ctypes
import os
from pathlib import Path
from random import randrange

import pytest

from pyconquest_rules.kinds.convert.running import Command, Limits

PATH = "/usr/local/bin:/usr/bin:/bin"


def shell(
    script: str, *, success: tuple[int, ...] = (0,), seconds: float = 20, output: int = 8 << 20, processes: int = 20
) -> Command:
    """A command that runs a script of the shell."""
    limits = Limits(seconds, output, 1 << 30, processes)
    return Command("/bin/sh", ["sh", "-c", script], {"PATH": PATH}, frozenset(success), limits)


def long_time() -> str:
    """Seconds to sleep, which no other test sleeps at the same time: so its processes can be found."""
    return str(10**6 + randrange(10**8))


def running(word: str) -> list[int]:
    """The processes with a word in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in arguments and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def needs_landlock() -> None:
    """Skip a test if the kernel cannot confine a process."""
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 1:
        pytest.skip("needs Landlock: Linux 5.13 or newer")
