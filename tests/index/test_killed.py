"""Several processes at once, and runs that are killed or interrupted."""

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pyconquest_rules.events import Event, FileTold
from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
from pyconquest_rules.index.scan.scan import Scan
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.scan.workers import pool
from pyconquest_rules.index.store.order import Order
from pyconquest_rules.index.store.schema import schema
from pyconquest_rules.index.store.store import Store
from tests.conftest import Workplace
from tests.index.indexing import RULES, dump
from tests.waiting import until

MANY = 1040


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven series of a hundred images, with twins and text files among them: enough for several transactions."""
    from tests.conftest import save

    folder = tmp_path_factory.mktemp("many")
    elements = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": "1.2.3.77770000", "StudyDescription": "s" * 70}
    elements |= {"PatientID": "P66666", "StudyInstanceUID": "1.2.4.66666", "SeriesInstanceUID": "1.2.5.55555", "Modality": "CT"}
    save(folder / "template", elements | {"ImagePositionPatient": [0, 0, 1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
    template = (folder / "template").read_bytes()
    for number in range(MANY):
        series = 100 + number // 100
        data = template.replace(b"77770000", b"%08d" % number).replace(b"55555", b"%05d" % series)
        data = data.replace(b"66666", b"%05d" % (series // 3)).replace(b"CT", b"CT" if series % 2 else b"MR")
        file = folder / "data" / str(series) / f"{number}.dcm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        if number % 50 == 0:
            shutil.copy(file, file.with_suffix(".copy"))
            file.with_suffix(".txt").write_text("no DICOM")
    (folder / "rules.toml").write_text(f"rules_version = 1\n{RULES}")
    return folder


@pytest.fixture(scope="module")
def clean(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Any, ...]]]:
    """The rows after one undisturbed run on `many`."""
    folder = linked(many, tmp_path_factory.mktemp("clean"))
    assert Workplace(folder).run("index").code == 0
    return dump(folder / "conquest.db")


def linked(many: Path, folder: Path) -> Path:
    """Return a new workplace with the same data."""
    shutil.copy(many / "rules.toml", folder / "rules.toml")
    text = (folder / "rules.toml").read_text().replace('"data"', f'"{many}/data"')
    (folder / "rules.toml").write_text(text)
    return folder


def indexing(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pyconquest_rules", "index", "--json"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_make_one_correct_index(many: Path, clean: dict[str, Any], tmp_path: Path) -> None:
    folder = linked(many, tmp_path)
    both = [indexing(folder) for _ in range(2)]
    ends = [(*process.communicate(timeout=60), process.returncode) for process in both]
    assert [code for *_, code in ends] == [0, 0], ends
    assert dump(folder / "conquest.db") == clean


ATTEMPTS = 10


def killed_once(folder: Path, happened: Callable[[], bool]) -> bool:
    """Index a folder, and kill the run once something happened; return whether it had not ended before."""
    process = indexing(folder)
    until(lambda: process.poll() is not None or happened(), 60)
    process.kill()
    process.communicate(timeout=30)
    return process.returncode == -signal.SIGKILL


def written(database: Path) -> int:
    """Return how many files the index has; -1 if it does not exist yet."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM rules_files").fetchone()[0])
    except sqlite3.Error:
        return -1


@pytest.mark.parametrize("at_least", [-1, 0, 1, MANY])
def test_a_run_after_a_kill_does_exactly_the_rest(many: Path, clean: dict[str, Any], tmp_path: Path, at_least: int) -> None:
    folder = linked(many, tmp_path)
    database = folder / "conquest.db"
    for _ in range(ATTEMPTS):
        # -1: while it makes the tables
        if killed_once(folder, database.exists if at_least < 0 else lambda: written(database) >= at_least):
            break
        database.unlink()
    else:
        pytest.fail("each run ended before it was killed")
    before = max(0, written(folder / "conquest.db"))
    again = Workplace(folder).run("index", "--json")
    assert again.code == 0, again
    assert again.summary["read"] + before == again.summary["seen"]
    assert dump(folder / "conquest.db") == clean


def test_a_kill_while_changes_are_indexed(many: Path, clean: dict[str, Any], tmp_path: Path) -> None:
    """All files were touched: first they are removed from the index, then they are read again."""
    shutil.copytree(many / "data", tmp_path / "data")
    shutil.copy(many / "rules.toml", tmp_path / "rules.toml")
    workplace = Workplace(tmp_path)
    workplace.run("index")
    for attempt in range(ATTEMPTS):
        for file in (tmp_path / "data").rglob("*.*"):
            os.utime(file, ns=(5, 5 + attempt))
        if killed_once(tmp_path, lambda: written(tmp_path / "conquest.db") <= MANY // 2):
            break
    else:
        pytest.fail("each run ended before it was killed")
    assert workplace.run("index").code == 0
    for file in (tmp_path / "data").rglob("*.*"):
        shutil.copystat(many / "data" / file.relative_to(tmp_path / "data"), file)
    workplace.run("index")
    assert dump(tmp_path / "conquest.db") == clean | {"rules_sources": [(b"MAG0", b"archive", os.fsencode(tmp_path / "data"), 0)]}


def children_of(process: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            found.append(int(stat.parent.name))
    return found


def descendants(process: int) -> Iterator[int]:
    for child in children_of(process):
        yield child
        yield from descendants(child)


def test_workers_end_with_a_run_that_is_killed(many: Path, tmp_path: Path) -> None:
    folder = linked(many, tmp_path)
    script = "from pyconquest_rules import app; from pyconquest_rules.index.scan.workers import pool;"
    script += "app.index(app.Rules.load('rules.toml'), workers=lambda files: pool())"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=folder)
    until(lambda: process.poll() is not None or written(folder / "conquest.db") >= 1, 60)
    workers = list(descendants(process.pid))
    assert workers
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    until(lambda: not any(map(is_running, workers)))


# Indexes with workers, and in the middle does to all of them what a terminal does for Ctrl-C.
INTERRUPTED = """
import os, signal
from pyconquest_rules.cli import main
from pyconquest_rules.index.scan import workers
from pyconquest_rules.index.store.order import Order
from pyconquest_rules.index.scan.tally import Tally

def tell(self, path, outcome):
    told(self, path, outcome)
    if self.counts["seen"] == 700:
        os.killpg(0, signal.SIGINT)

workers.WORTH_PROCESSES, told, Tally.report = 1, Tally.report, tell
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it runs in the background ignore it
main()
"""


def test_ctrl_c_ends_a_run_with_workers_in_one_line(many: Path, clean: dict[str, Any], tmp_path: Path) -> None:
    folder = linked(many, tmp_path)
    command = [sys.executable, "-c", INTERRUPTED, "index"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, start_new_session=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "error: interrupted; run it again to continue\n")
    rest = indexing(folder).communicate()[0]
    assert 0 < json.loads(rest.splitlines()[-1])["unchanged"] < 700
    assert dump(folder / "conquest.db") == clean


def test_a_killed_worker_does_no_harm(many: Path, clean: dict[str, Any], tmp_path: Path) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, FileTold) and not killed:
            killed.extend(worker.pid for worker in multiprocessing.active_children())
            os.kill(killed[0] or 0, signal.SIGKILL)

    killed: list[int | None] = []
    order = Order(sources=("archive",), base=tmp_path, rules=tmp_path / "rules.toml")
    with Store(tmp_path / "conquest.db", schema(parse(standard_text())), order) as store:
        Scan(store, kill).run([Tree("archive", many / "data", ("**/.*",))], lambda files: pool())
    assert killed
    assert dump(tmp_path / "conquest.db") == clean


def is_running(process: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_many_workers_give_the_same_index_as_one(many: Path, clean: dict[str, Any], tmp_path: Path) -> None:
    told: list[Event] = []
    order = Order(sources=("archive",), base=tmp_path, rules=tmp_path / "rules.toml")
    with Store(tmp_path / "conquest.db", schema(parse(standard_text())), order) as store:
        scan = Scan(store, told.append)
        scan.run([Tree("archive", many / "data", ("**/.*",))], lambda files: pool())
    assert dump(tmp_path / "conquest.db") == clean
    paths = [event.path for event in told if isinstance(event, FileTold)]
    assert paths == sorted(paths)
