"""Run `listen` in its own process, and send to it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.conftest import Workplace
from tests.dcmtk import dcmtk


@contextmanager
def listening(workplace: Workplace) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """Run the listener in its own process. Yield its port and the process, whose JSON lines can still be read."""
    command = [sys.executable, "-m", "pyconquest_rules", "listen", "--json"]
    process = subprocess.Popen(command, cwd=workplace.folder, stdout=subprocess.PIPE, text=True)
    try:
        first = json.loads(output(process).readline())
        assert first["event"] == "listening"
        yield first["port"], process
    finally:
        process.kill()
        process.wait()


def output(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def next_line(process: "subprocess.Popen[str]", event: str) -> dict[str, Any]:
    for line in output(process):
        found: dict[str, Any] = json.loads(line)
        if found["event"] == event:
            return found
    raise AssertionError(f"no line of {event}")


def storescu(port: int, *files: Path) -> int:
    command = [dcmtk("storescu"), "-q", "-aec", "RULES", "127.0.0.1", str(port), *map(str, files)]
    return subprocess.run(command, env={**os.environ, "TCP_NODELAY": "1"}, check=False, timeout=60).returncode


RULES = """
[sources.archive]
path = "archive"
layout = "{{ PatientID }}/{{ SOPInstanceUID }}.dcm"

[select.slices]
level = "image"
where = "Modality = 'CT'"

[copy.export]
select = "slices"
to = "export/{{ SOPInstanceUID }}.dcm"

[listen.inbox]
ae_title = "RULES"
port = 0
into = "archive"
then = ["copy.export"]
quiet = 0.2
"""
