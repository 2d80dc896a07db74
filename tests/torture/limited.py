"""Attacks, each in a process of its own that is held to 2 seconds of processor time; its memory is measured.

`python -m tests.torture.limited` reads an attack a line, as JSON, and answers with a line each: what came of it and what it took.
"""

import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from select import select
from typing import Any

from pyconquest_rules import app
from pyconquest_rules.app.loading import Rules
from pyconquest_rules.cli.common import Options
from pyconquest_rules.cli.main import run
from pyconquest_rules.dicom import Level
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.errors import Error, Mistake
from pyconquest_rules.index.query import sql
from pyconquest_rules.index.query.selection import Selection
from pyconquest_rules.network.node import TLS
from pyconquest_rules.network.tls import ssl_context
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.templates import RenderError, Template

CPU_SECONDS, MEGABYTES, GLANCE = 2, 256, 0.005
MOST_ROWS, LONGEST_ANSWER = 10_000, 300_000


@dataclass(frozen=True)
class Came:
    """What came of an attack: `mistake` or `unsafe` with what was said, or `done` with what it got.

    `disk` is the most that it had there at a time, in megabytes, also in files without a name.
    """

    how: str
    what: str
    cpu: float
    megabytes: float
    disk: float


def query(text: str, seconds: float) -> tuple[str, str]:
    """The rows of a query, as `query` gives them."""
    with app.opened(Rules.load("rules.toml")) as sets:
        sets.seconds = seconds
        sets.make_named(text, {"one": 1})
        _, rows = sql.rows(sets.connection, text, {"one": 1}, seconds)
        with closing(rows):
            return "done", repr([*islice(rows, MOST_ROWS)])[:100_000]


def where(text: str, seconds: float) -> tuple[str, str]:
    """The instances of a set."""
    with app.opened(Rules.load("rules.toml")) as sets:
        sets.seconds = seconds
        sets.selections = {"attack": Selection("attack", Level.IMAGE, None, text, {"one": 1})}
        return "done", repr([*islice(sets.instances("attack", ["PatientID"]), MOST_ROWS)])[:100_000]


def template(text: str, seconds: float) -> tuple[str, str]:
    """Where a template puts instances, some of which are hostile themselves."""
    outputs = Outputs(Path.cwd(), ["export"], [Path.cwd() / "data"])
    made = Template(text, {"out": "export", "evil": "{{ PatientID }}/../..", "up": ".."})
    found = []
    for value in (
        "P1",
        "../../x",
        "/etc/passwd",
        "{{ vars.out }}",
        "{% for x in y %}",
        "a" * 65536,
        "\U0001f600" * 65536,
        "\0\1",
    ):
        try:
            path = made.path(dict.fromkeys(made.columns, value)).path
            found.append(outputs.place(path))
        except (UnsafePath, RenderError) as error:
            found.append(f"export/: {error}")
    assert all(path.startswith("export/") for path in found), "a destination is outside"
    return "done", repr(found)[:100_000]


def check(text: str, seconds: float) -> tuple[str, str]:
    """What `check` says of a rules file."""
    return _command("check", text)


def index(text: str, seconds: float) -> tuple[str, str]:
    """What `index` says, of a rules file that `check` may find right."""
    return _command("index", text)


def plan(text: str, seconds: float) -> tuple[str, str]:
    """What `plan` says, on an index as it is."""
    return _command("plan", text, "--no-index")


def offline(text: str, seconds: float) -> tuple[str, str]:
    """What `plan --offline` says."""
    return _command("plan", text, "--offline")


def link(text: str, seconds: float) -> tuple[str, str]:
    """What `check` says of a rules file that is a link."""
    Path("attack.toml").unlink(missing_ok=True)
    Path("attack.toml").symlink_to(text)
    return _command("check", None)


def tls(text: str, seconds: float) -> tuple[str, str]:
    """What is said of the files of the TLS of a node."""
    Path("attack.toml").unlink(missing_ok=True)
    Path("attack.toml").write_text(f"rules_version = 1\n{text}", encoding="utf-8")
    try:
        node = Rules.load("attack.toml").nodes["n"]
        ssl_context(node, node.tls or TLS(Path()))
    except Error as error:
        said = str(error)
    else:
        return "done", ""
    assert "canary-of-" not in said, "a secret was shown"
    return "mistake", said


def _command(name: str, text: str | None, *options: str) -> tuple[str, str]:
    rules, said = Path("attack.toml"), StringIO()
    if text is not None:
        rules.unlink(missing_ok=True)
        rules.write_text(f"rules_version = 1\n{text}", encoding="utf-8")
    with redirect_stderr(said), redirect_stdout(said):
        code = run(["-f", str(rules), name, *options], Options())
    assert len(said.getvalue()) < LONGEST_ANSWER, "who reads that?"
    assert "canary-of-" not in said.getvalue(), "a secret was shown"
    return "done" if code == 0 else "mistake", said.getvalue()


KINDS: dict[str, Callable[[str, float], tuple[str, str]]] = {
    "query": query,
    "where": where,
    "template": template,
    "check": check,
    "index": index,
    "plan": plan,
    "offline": offline,
    "link": link,
    "tls": tls,
}


def attack(kind: str, text: str, seconds: float, cpu_seconds: int) -> Came:
    """Does it in a child. Raises AssertionError where the child did not end by itself."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
            os.write(writing, json.dumps(_tried(kind, text, seconds)).encode()[:60_000])
        finally:
            os._exit(0)
    os.close(writing)
    before, disk = _on_disk(child), 0.0
    with os.fdopen(reading, "rb") as pipe:
        while not select([pipe], [], [], GLANCE)[0]:
            disk = max(disk, _on_disk(child) - before)
        said = pipe.read()
    _, status, used = os.wait4(child, 0)
    disk = max(disk, _on_disk(child) - before)
    cpu, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    if status or not said:
        return Came("killed", f"by signal {os.WTERMSIG(status)}", cpu, megabytes, disk)
    how, what = json.loads(said)
    return Came(how, what, cpu, megabytes, disk)


def _on_disk(child: int) -> float:
    """The megabytes that a process has on the disk: in this folder, and in open files that have no name."""
    total = 0
    for path in Path().iterdir():
        if path.name.startswith(("conquest.db", ".py")):
            with suppress(FileNotFoundError):  # a WAL goes with its last connection
                total += path.lstat().st_size
    with suppress(OSError):
        for name in os.listdir(f"/proc/{child}/fd"):
            with suppress(OSError):
                status = os.stat(f"/proc/{child}/fd/{name}")
                total += status.st_size if stat.S_ISREG(status.st_mode) and not status.st_nlink else 0
    return total / 1e6


def _tried(kind: str, text: str, seconds: float) -> tuple[str, str]:
    try:
        how, what = KINDS[kind](text, seconds)
        return how, what[:1000]
    except Mistake as mistake:
        return "mistake", str(mistake)[:1000]
    except BaseException as error:  # noqa: BLE001  whatever else comes is a breach
        return "breach", repr(error)[:1000]


@contextmanager
def attacks(folder: Path, seconds: float, cpu_seconds: int = CPU_SECONDS) -> Iterator[Callable[[str, str], Came]]:
    """Gives a function that does an attack of a kind in `folder`."""
    command = [sys.executable, "-m", "tests.torture.limited", str(seconds), str(cpu_seconds)]
    environment = {**os.environb, b"PYTHONPATH": os.fsencode(Path(__file__).parents[2])}
    environment |= {b"CANARY": b"canary-of-the-environment", b"BYTES": b"\xff"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as server:
        assert server.stdin
        assert server.stdout

        def attacked(kind: str, text: str) -> Came:
            print(json.dumps([kind, text]), file=server.stdin, flush=True)
            answer = server.stdout.readline() if server.stdout else ""
            return Came(**json.loads(answer))

        yield attacked
        server.stdin.close()


def main(arguments: Sequence[str]) -> None:
    """Answers until nothing more is asked."""
    for line in sys.stdin:
        kind, text = json.loads(line)
        print(json.dumps(vars(attack(kind, text, float(arguments[0]), int(arguments[1])))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
