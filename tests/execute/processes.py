"""Commands in processes of their own, some of which are killed."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import Workplace


@contextmanager
def applying(workplace: Workplace) -> Iterator[subprocess.Popen[bytes]]:
    """`apply` in a process of its own."""
    command = [sys.executable, "-m", "pyconquest_rules", "apply"]
    with subprocess.Popen(command, cwd=workplace.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


# Runs `apply`, and is killed where it would call a function for the nth time.
KILLED = """
import os, signal, sys
from pyconquest_rules.app import applying
from pyconquest_rules.cli import main
from pyconquest_rules.engine import putting as copying
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.runs import Runs

owner, name = {"os": os, "Ledger": Ledger, "Runs": Runs, "copying": copying, "applying": applying}[sys.argv[1]], sys.argv[2]
function, calls = getattr(owner, name), iter(range(1, int(sys.argv[3])))

def killed(*given, **named):
    if next(calls, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*given, **named)

setattr(owner, name, killed)
sys.argv[1:] = ["apply", "--no-index"]
main()
"""


def kill(workplace: Workplace, function: str, call: int) -> None:
    command = [sys.executable, "-c", KILLED, *function.split("."), str(call)]
    assert workplace.run("index").code == 0
    assert subprocess.run(command, cwd=workplace.folder, check=False, capture_output=True).returncode == -signal.SIGKILL
