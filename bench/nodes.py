"""DICOM nodes on this machine, each in its own process and on a free port. The context manager that starts a node ends it."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.dcmtk import dcmtk
from bench.measure import Failed, Sample, clean_environment, measured
from bench.ours import PROGRAM
from bench.workplace import Workplace

ENVIRONMENT: Mapping[str, str] = {"TCP_NODELAY": "1"}
"""Without TCP_NODELAY, DCMTK's tools wait 40 ms for each answer, which would distort the comparison."""

SECONDS = 60


@contextmanager
def storescp(*options: str | Path, cwd: Path) -> Iterator[int]:
    """Run DCMTK's storescp, which accepts several associations at once, and yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with _process([str(dcmtk("storescp")), "--fork", *map(str, options), str(port)], cwd) as process:
        _until_it_listens(process, port)
        yield port


@contextmanager
def listener(cwd: Path, **counts: int) -> Iterator[int]:
    """Run the only listener of the rules in `cwd`, and yield its port. Raises Failed if its summary has other counts."""
    with _process([str(PROGRAM), "listen", "--json"], cwd) as process:
        if process.stdout is None or not (first := process.stdout.readline()):
            raise Failed("the listener did not start")
        yield int(json.loads(first)["port"])
        process.send_signal(signal.SIGTERM)
        summary = json.loads([*process.stdout][-1])
    if (found := {name: summary.get(name) for name in counts}) != counts:
        raise Failed(f"listen: expected {counts} in the summary, found {found}")


@contextmanager
def _process(command: Sequence[str], cwd: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = {**clean_environment(), **ENVIRONMENT}
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with its processes for associations


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


@dataclass(frozen=True, slots=True)
class Load:
    """The files of a tree to send. `names` is a file with their paths in the tree, one per line."""

    kind: str
    tree: Path
    names: Path
    files: int
    bytes: int


def loads(place: Workplace) -> Iterator[Load]:
    """Yield CT and MR slices of series whose elements change from slice to slice."""
    ct, mr = place.sizes.ct // 2, place.sizes.mr // 2
    tree = place.tree(ct=ct, mr=mr, varied=True)
    for kind in ("ct", "mr"):
        files = sorted(path for path in (tree / kind).rglob("*") if path.is_file())
        names = place.folder / f"{kind}.names"
        names.write_text("".join(f"{file.relative_to(tree)}\n" for file in files), encoding="utf-8")
        yield Load(kind, tree, names, len(files), sum(file.stat().st_size for file in files))


def storescu(load: Load, port: int, at_once: int) -> Sample:
    """Run `at_once` DCMTK storescu in parallel. Each sends an equal share of the files over its own association."""
    each = str(-(-load.files // at_once))
    command = [str(dcmtk("storescu")), "--quiet", "--aetitle", "BENCH", "--call", "RULES", "127.0.0.1", str(port)]
    split: list[str | Path] = ["xargs", "--arg-file", load.names, "--max-procs", str(at_once), "--max-args", each]
    return measured([*split, *command], cwd=load.tree, environment=ENVIRONMENT)


def missing() -> str:
    """Return a message if one of DCMTK's tools is missing, or ""."""
    lacking = (name for name in ("storescu", "storescp") if not dcmtk(name))
    return next((f"DCMTK's {name} is missing: install it with the system's packages" for name in lacking), "")
