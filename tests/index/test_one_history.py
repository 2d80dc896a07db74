"""The same tree and rules give the same index, whatever its history: all tables equal those of a new index."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
from pyconquest_rules.index.scan.scan import Scan
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.scan.workers import here
from pyconquest_rules.index.store.order import OnConflict, Order
from pyconquest_rules.index.store.schema import schema
from pyconquest_rules.index.store.store import Store
from tests.conftest import Instance, Workplace, save

LAYOUT = schema(parse(standard_text()))
TIMES = {"AccessTime", "AccessTim", "DatabaseTimeStamp"}

NAMES = ["1.dcm", "2.dcm", "a/1.dcm", "b/1.dcm", "z.dcm"]
SOURCES = ("one", "two")
WRITE = st.tuples(st.just("write"), st.sampled_from(SOURCES), st.sampled_from(NAMES), st.integers(0, 47), st.integers(1, 3))
REMOVE = st.tuples(st.just("remove"), st.sampled_from(SOURCES), st.sampled_from(NAMES), st.just(0), st.just(0))
COPY = st.tuples(st.just("copy"), st.sampled_from(SOURCES), st.sampled_from(NAMES), st.integers(0, 4), st.just(0))
INDEX = st.tuples(st.just("index"), st.just(""), st.just(""), st.integers(0, 5), st.just(0))
STEPS = st.lists(WRITE | WRITE | WRITE | REMOVE | COPY | INDEX, max_size=24)
ORDERS = [(on_conflict, sources) for on_conflict in OnConflict for sources in (SOURCES, SOURCES[::-1])]

Step = tuple[str, str, str, int, int]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An instance with placeholders."""
    elements: dict[str, Any] = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": "1.2.1.77777", "Modality": "M8"}
    elements |= {"PatientID": "P66666", "StudyInstanceUID": "1.2.2.55555", "SeriesInstanceUID": "1.2.3.44444"}
    elements |= {"PatientName": "33333", "StudyDescription": "33333" * 30, "SeriesDescription": "33333" * 30}
    elements |= {"ImagePositionPatient": [0, 0, 1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "FrameOfReferenceUID": "1.2.4"}
    file = tmp_path_factory.mktemp("template") / "file"
    save(file, elements)
    return file.read_bytes()


def instance(template: bytes, number: int) -> bytes:
    """One of 48 instances: 4 UIDs with other bytes each, in 3 series, 2 studies and 2 patients that contradict each other."""
    uid, series, study, patient = number % 4, number % 3, number // 4 % 2, number // 8 % 2
    data = template.replace(b"77777", b"%05d" % uid).replace(b"44444", b"%05d" % series).replace(b"M8", b"M%d" % series)
    return data.replace(b"55555", b"%05d" % study).replace(b"66666", b"%05d" % patient).replace(b"33333", b"%05d" % number)


def index(folder: Path, database: Path, order: int) -> None:
    on_conflict, sources = ORDERS[order]
    trees = [Tree(name, folder / name) for name in sources]
    with Store(database, LAYOUT, Order(on_conflict, sources, database.parent)) as store:
        Scan(store, lambda event: None).run(trees, here, allow_vanish=True)


def do(folder: Path, step: Step, data: bytes, run: int, seen: set[Path]) -> None:
    """Take a step. A file that a run may have seen gets another mtime: a change that keeps size and mtime is seen by no run."""
    kind, source, name, number, time = step
    time += 4 * run
    file = folder / source / name
    if kind == "write":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, ns=(time, time))
    elif kind == "remove":
        file.unlink(missing_ok=True)
    elif kind == "copy" and file.exists():
        there = folder / ("one" if source == "two" else "two") / NAMES[number]
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, there)
        if there in seen:
            os.utime(there, ns=(time, time))


def dump(database: Path) -> dict[str, list[Any]]:
    """Every row of every table, without times of bookkeeping."""
    with closing(sqlite3.connect(database)) as connection:
        connection.text_factory = bytes
        found = {}
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = [
                name.decode() for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table.decode(),))
            ]
            kept = ", ".join(f'"{name}"' for name in columns if name not in TIMES)
            found[table.decode()] = sorted(connection.execute(f'SELECT {kept} FROM "{table.decode()}"').fetchall(), key=repr)
        return found


def check(template: bytes, steps: list[Step], last: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for made in ("one", "two", "grown", "new"):
            (folder / made).mkdir()
        index(folder, folder / "grown/i.db", 0)  # which gives the sources their devices
        shutil.copytree(folder / "grown/.pyconquest-rules", folder / "new/.pyconquest-rules")
        runs, seen = 0, set[Path]()
        for step in steps:
            if step[0] == "index":
                index(folder, folder / "grown/i.db", step[3])
                runs += 1
                seen |= {file for source in SOURCES for file in (folder / source).rglob("*.dcm")}
            do(folder, step, instance(template, step[3]), runs, seen)
        index(folder, folder / "grown/i.db", last)
        index(folder, folder / "new/i.db", last)
        assert dump(folder / "grown/i.db") == dump(folder / "new/i.db")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, last=st.integers(0, 5))
# A file that comes earlier in the order; a newer one; the order changes; the file that says a series goes; a copy.
@example(steps=[("write", "two", "z.dcm", 0, 1), ("index", "", "", 0, 0), ("write", "one", "1.dcm", 12, 1)], last=0)
@example(steps=[("write", "one", "1.dcm", 0, 1), ("index", "", "", 4, 0), ("write", "two", "z.dcm", 12, 2)], last=4)
@example(steps=[("write", "one", "1.dcm", 0, 1), ("write", "two", "z.dcm", 12, 2), ("index", "", "", 0, 0)], last=1)
@example(
    steps=[
        ("write", "one", "1.dcm", 0, 1),
        ("write", "one", "2.dcm", 15, 1),
        ("index", "", "", 0, 0),
        ("remove", "one", "1.dcm", 0, 0),
    ],
    last=0,
)
@example(steps=[("write", "two", "z.dcm", 0, 1), ("index", "", "", 0, 0), ("copy", "two", "z.dcm", 0, 0)], last=0)
def test_an_index_that_grew_equals_a_new_one(template: bytes, steps: list[Step], last: int) -> None:
    check(template, steps, last)


COLUMNS = """
[sources.one]
path = "one"

[[schema.study]]
column = "Institution"
tag = "InstitutionalDepartmentName"

[[schema.series]]
column = "Protocol"
tag = "StationName"

[[schema.patient]]
column = "Comments"
tag = "PatientComments"

[[schema.image]]
column = "Label"
tag = "ImageComments"
"""


@pytest.mark.parametrize("uids", ["12345", "54321", "31524", "23451", "41352"])
def test_an_added_column_has_the_values_of_a_new_index(workplace: Workplace, instance: Instance, uids: str) -> None:
    """The first file defines a row, whatever its SOPInstanceUID. One of them is in another study than its series."""
    for number, uid in enumerate(uids):
        said = dict.fromkeys(("InstitutionalDepartmentName", "StationName", "PatientComments", "ImageComments"), f"of {number}")
        instance(f"one/{number}.dcm", SOPInstanceUID=f"1.2.{uid}", StudyInstanceUID=f"1.3.{int(number == 3)}", **said)
    workplace.rules(COLUMNS.partition("[[")[0]).run("index")
    workplace.rules(COLUMNS).run("index")
    queries = ["select PatientID, Comments from patients", "select StudyInstanceUID, Institution from studies order by 1"]
    queries += ["select Protocol from series", "select SOPInstanceUID, Label from images order by 1"]
    grown = [workplace.run("query", query, "--json").out for query in queries]
    for file in workplace.folder.glob("conquest.db*"):
        file.unlink()
    workplace.run("index")
    assert [workplace.run("query", query, "--json").out for query in queries] == grown
    assert "of 0" in grown[0]
