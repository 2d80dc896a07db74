"""Whatever happens to the files, and in whatever steps the index is updated, it equals a new one."""

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
from pyconquest_rules.index.store.schema import schema
from pyconquest_rules.index.store.store import Store
from tests.conftest import save

LAYOUT = schema(parse(standard_text()))

NAMES = ["1.dcm", "2.dcm", "a/1.dcm", "a/2.dcm", "b/1.dcm", "b/c/1.dcm", "z.txt"]
WRITE = st.tuples(st.just("write"), st.sampled_from(NAMES), st.integers(0, 7), st.booleans())
REMOVE = st.tuples(st.just("remove"), st.sampled_from(NAMES), st.just(0), st.just(False))
RENAME = st.tuples(st.just("rename"), st.sampled_from(NAMES), st.integers(0, len(NAMES) - 1), st.just(False))
TOUCH = st.tuples(st.just("touch"), st.sampled_from(NAMES), st.just(0), st.just(False))
INDEX = st.tuples(st.just("index"), st.just(""), st.just(0), st.just(False))
STEPS = st.lists(WRITE | WRITE | REMOVE | RENAME | TOUCH | INDEX, max_size=25)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An instance with placeholders for its UIDs."""
    elements: dict[str, Any] = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": "1.2.1.77777", "Modality": "CT"}
    elements |= {"PatientID": "P66666", "StudyInstanceUID": "1.2.2.66666", "SeriesInstanceUID": "1.2.3.55555"}
    elements |= {"StudyDescription": "66666" * 30, "SeriesDescription": "55555" * 30, "InstanceNumber": "44444"}
    elements |= {"ImagePositionPatient": [0, 0, 1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "FrameOfReferenceUID": "1.2.4"}
    file = tmp_path_factory.mktemp("template") / "file"
    save(file, elements)
    return file.read_bytes()


def instance(template: bytes, number: int, other: bool, studies: int) -> bytes:
    """Return instance `number` of series `number` modulo 3. `other` changes its bytes, but not its UID."""
    series = number % 3
    data = template.replace(b"77777", b"%05d" % number).replace(b"55555", b"%05d" % series)
    return data.replace(b"66666", b"%05d" % ((number if studies > 2 else series) % studies)).replace(b"44444", b"%05d" % other)


def index(database: Path, root: Path) -> None:
    with Store(database, LAYOUT) as store:
        Scan(store, lambda event: None).run([Tree("all", root)], here, allow_vanish=True)


def do(root: Path, time: int, step: tuple[str, str, int, bool], data: bytes) -> None:
    """Make one change of the files, with its own mtime. Skip it if it is impossible."""
    kind, name, number, _ = step
    file = root / name
    match kind:
        case "write":
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            os.utime(file, ns=(time, time))
        case "remove":
            file.unlink(missing_ok=True)
        case "rename" if file.exists():
            (root / NAMES[number]).parent.mkdir(parents=True, exist_ok=True)
            file.rename(root / NAMES[number])
        case "touch" if file.exists():
            os.utime(file, ns=(time, time))


def said(database: Path) -> dict[str, list[Any]]:
    """Return the rows that do not depend on which of two files with one SOPInstanceUID arrived first."""
    with closing(sqlite3.connect(database)) as connection:
        queries = {
            "patients": "SELECT PatientID, StudyCount, SeriesCount, ImageCount FROM patients",
            "studies": "SELECT StudyInstanceUID, PatientID, StudyDescription, ModalitiesInStudy, SeriesCount FROM studies",
            "series": "SELECT SeriesInstanceUID, StudyInstanceUID, SeriesDescription, ImageCount, NumberOfSlices FROM series",
            "images": "SELECT SOPInstanceUID, SeriesInstanceUID, PatientID FROM images",
            "files": "SELECT path, size, mtime_ns, SOPInstanceUID FROM rules_files",
            "places": "SELECT count(*), count(FileSize) FROM images",
            "indexed": "SELECT SOPInstanceUID FROM rules_files WHERE outcome = 'indexed'",
            **{table: f"SELECT * FROM {table}" for table in ("rules_full", "rules_references", "rules_slices", "rules_strays")},
        }
        return {name: sorted(connection.execute(query).fetchall()) for name, query in queries.items()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_an_updated_index_equals_a_new_one(template: bytes, steps: list[tuple[str, str, int, bool]]) -> None:
    with TemporaryDirectory() as folder:
        root, followed, new = Path(folder) / "data", Path(folder) / "followed.db", Path(folder) / "new.db"
        root.mkdir()
        for time, step in enumerate([*steps, ("index", "", 0, False)]):
            if step[0] == "index":
                index(followed, root)
            do(root, time, step, instance(template, step[2], step[3], studies=2))
        index(new, root)
        assert said(followed) == said(new)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
# A series that moves to another study, of which the last patient goes.
@example(
    steps=[("write", "1.dcm", 0, False), ("write", "2.dcm", 3, False), ("index", "", 0, False), ("write", "1.dcm", 6, False)]
)
def test_nothing_is_left_when_all_files_are_gone(template: bytes, steps: list[tuple[str, str, int, bool]]) -> None:
    """Also of series that are in several studies, and of studies of several patients."""
    with TemporaryDirectory() as folder:
        root, database = Path(folder) / "data", Path(folder) / "followed.db"
        root.mkdir()
        for time, step in enumerate([*steps, ("index", "", 0, False)]):
            if step[0] == "index":
                index(database, root)
            do(root, time, step, instance(template, step[2], step[3], studies=5))
        index(database, root)
        shutil.rmtree(root)
        root.mkdir()
        index(database, root)
        with closing(sqlite3.connect(database)) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            left = {name for name in tables if connection.execute(f"SELECT 1 FROM {name}").fetchone()}
        assert left == {"rules_index", "rules_numbers", "rules_sources"}
