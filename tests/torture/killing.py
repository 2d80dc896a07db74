"""A command that is killed at any of its calls, of whatever thread: before a function of Python or of C is entered."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Everything is imported before the first call is counted: what Python does to import is not what is looked at.
KILLED = """
import os, signal, sys, threading
from itertools import count
from pyconquest_rules.app import applying, forgetting, indexing, opening, planning
from pyconquest_rules.cli import apply, forget, index
from pyconquest_rules.cli.common import Options
from pyconquest_rules.cli.main import run
from pyconquest_rules.index.store import forgetting
from pyconquest_rules.index.query import reading
from pyconquest_rules.index.scan import scan
from pyconquest_rules.index.store import store

calls, last = count(1), int(sys.argv.pop(1))

def counted(frame, event, argument):
    if event.endswith("call") and next(calls) == last:
        os.kill(os.getpid(), signal.SIGKILL)

threading.setprofile(counted)
sys.setprofile(counted)
code = run(sys.argv[1:], Options())
sys.setprofile(None)
print(next(calls), file=sys.stderr)
sys.exit(code)
"""


class Kills:
    """Commands in a folder, each killed at a random call of those that it makes."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random, self.hits = folder, random.Random(seed), 0

    def kill(self, *arguments: str, calls: int) -> bool:
        """Run a command that makes about so many calls; return whether it was killed before its end."""
        # The first third only reads the rules and opens the databases.
        killed = self._run(self.random.randrange(calls // 3, calls), arguments).returncode == -signal.SIGKILL
        self.hits += killed
        return killed

    def calls(self, *arguments: str) -> int:
        """Let a command come to its end; return how many calls it makes."""
        run = self._run(0, arguments)
        assert run.returncode == 0, run.stderr
        return int(run.stderr.split()[-1])

    def until(self, number: int) -> Iterator[int]:
        """Yield numbers until so many commands were killed; a test that hits too seldom fails."""
        for each in range(3 * number):
            if self.hits == number:
                return
            yield each
        assert self.hits == number, f"only {self.hits} of {number} runs were killed"

    def _run(self, call: int, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(call), *arguments]
        return subprocess.run(command, cwd=self.folder, check=False, capture_output=True, text=True)
