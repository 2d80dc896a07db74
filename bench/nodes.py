"""DICOM nodes on this machine to send to: each in a process of its own, on a port that was free, ended by whoever started it."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Failed, clean_environment
from bench.ours import PROGRAM

ENVIRONMENT: Mapping[str, str] = {"TCP_NODELAY": "1"}
"""Without it DCMTK's tools wait 40 ms for an answer, which is no work that could be compared."""

SECONDS = 60


@contextmanager
def storescp(*options: str | Path, cwd: Path) -> Iterator[int]:
    """DCMTK's, which takes several associations at once: its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with _process(["storescp", "--fork", *map(str, options), str(port)], cwd) as process:
        _until_it_listens(process, port)
        yield port


@contextmanager
def listener(cwd: Path, **counts: int) -> Iterator[int]:
    """Ours, the only one of the rules in `cwd`: its port. Raises Failed where its summary has other counts than these."""
    with _process([str(PROGRAM), "listen", "--json"], cwd) as process:
        if process.stdout is None or not (first := process.stdout.readline()):
            raise Failed("the listener did not start")
        yield int(json.loads(first)["port"])
        process.send_signal(signal.SIGTERM)
        summary = json.loads([*process.stdout][-1])
    if (found := {name: summary.get(name) for name in counts}) != counts:
        raise Failed(f"listen: the summary should say {counts}, and says {found}")


@contextmanager
def _process(command: Sequence[str], cwd: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = {**clean_environment(), **ENVIRONMENT}
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # and the processes that it made for associations


def _until_it_listens(process: "subprocess.Popen[str]", port: int) -> None:
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    raise Failed("storescp does not listen")


def storescu(files: Path, port: int, number: int, at_once: int) -> list[str | Path]:
    """The command with which so many of DCMTK's at once send the files that a list names: each of them as many of these."""
    each = str(-(-number // at_once))
    command = ["storescu", "--quiet", "--no-recurse", "--aetitle", "BENCH", "--call", "RULES", "127.0.0.1", str(port)]
    return ["xargs", "--arg-file", files, "--max-procs", str(at_once), "--max-args", each, *command]
