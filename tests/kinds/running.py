"""The program in a process of its own, with kinds that a test registers."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

# Registers the kinds, then runs the program, which is killed where it would call a function for the nth time.
PROGRAM = """
import os, signal, sys
from pyconquest_rules.kinds import all as list_of_kinds
exec(sys.argv[1])

from pyconquest_rules.cli import main
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.runs import Runs
owners = {"os": os, "Ledger": Ledger, "Runs": Runs, "": None}
owner, name, calls = owners[sys.argv[2]], sys.argv[3], iter(range(1, int(sys.argv[4])))
function = getattr(owner, name, None)

def killed(*given, **named):
    if next(calls, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*given, **named)

if function:
    setattr(owner, name, killed)
sys.argv[1:] = sys.argv[5:]
main()
"""


def program(
    register: str, folder: Path, *arguments: str, kill: tuple[str, str, int] = ("", "", 1)
) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`. `register` is the code that registers kinds; `kill` is a function and which call of it."""
    command = [sys.executable, "-c", PROGRAM, register, *map(str, kill), *arguments]
    environment = {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "100", "NO_COLOR": "1", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, env=environment)
