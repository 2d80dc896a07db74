"""Conformance with Conquest: the tables that the server creates, and the rows that it stored, file by file."""

import csv
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.charset import convert_encodings, decode_bytes

from pyconquest_rules.index.conquest.dicom_sql import parse
from pyconquest_rules.index.derived.rt import COLUMNS
from pyconquest_rules.index.scan.scan import Scan
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.scan.workers import here
from pyconquest_rules.index.store.schema import schema
from pyconquest_rules.index.store.store import Store
from pyconquest_rules.index.store.tables import statements

STOCK = schema(parse((Path(__file__).parents[1] / "data" / "stock_dicom.sql").read_text()))
TABLES = ("DICOMWorkList", "DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages", "UIDMODS")
KEYS = {"Patients": "PatientID", "Studies": "StudyInsta", "Series": "SeriesInst", "Images": "SOPInstanc"}

PYCONQUEST = {*(name for name, _ in COLUMNS), "DatabaseTimeStamp", "hash"}
# A slip of the server: this index of its is on the sex, not the ID, of the patient.
SLIP = "idx_patientid"


def described(database: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    """Return name, type, whether NULL is forbidden, and position in the primary key of every column."""
    columns = database.execute(f"PRAGMA table_info({table})")
    return [(name, type_.lower().replace(" ", ""), bool(notnull), key) for _, name, type_, notnull, _, key in columns]


def lookups(database: sqlite3.Connection, table: str) -> set[tuple[str, tuple[str, ...]]]:
    names = [name for _, name, *_ in database.execute(f"PRAGMA index_list({table})") if not name.startswith("sqlite_")]
    return {(name, tuple(column for *_, column in database.execute(f"PRAGMA index_info({name})"))) for name in names}


@pytest.fixture(scope="module")
def server(shared: Path) -> sqlite3.Connection:
    """The database that the server creates."""
    database = sqlite3.connect(":memory:")
    database.executescript((shared / "conquest" / "schema_dgate150e_sqlite.sql").read_text())
    return database


@pytest.fixture(scope="module")
def ours() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    for statement in statements(STOCK):
        database.execute(statement)
    return database


@pytest.mark.parametrize("table", TABLES)
def test_tables_have_the_columns_types_and_keys_of_the_server(
    server: sqlite3.Connection, ours: sqlite3.Connection, table: str
) -> None:
    columns = [column for column in described(ours, table) if not (table == "DICOMImages" and column[0] in PYCONQUEST)]
    assert columns == described(server, table)


@pytest.mark.parametrize("table", TABLES)
def test_tables_have_the_indexes_of_the_server(server: sqlite3.Connection, ours: sqlite3.Connection, table: str) -> None:
    mine = {lookup for lookup in lookups(ours, table) if not lookup[0].startswith("rules_")}
    assert mine == {lookup for lookup in lookups(server, table) if lookup[0] != SLIP}


def golden(shared: Path, table: str) -> Iterator[dict[str, str]]:
    with (shared / "conquest" / f"golden_single_DICOM{table}.csv").open(newline="") as file:
        yield from csv.DictReader(file)


@pytest.fixture(scope="module")
def rows(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, object] | str]:
    """Our row of each table for each file of the golden tables, indexed alone, or why it was rejected."""
    with (shared / "conquest" / "golden_single_log.csv").open(newline="") as file:
        names = [f"{row['dir']}/{row['file']}" for row in csv.DictReader(file)]
    found: dict[tuple[str, str], dict[str, object] | str] = {}
    for number, name in enumerate(names):
        source = Path(pydicom.__file__).parent / "data" / name
        folder = tmp_path_factory.mktemp(f"golden{number}")
        if source.exists():
            (folder / "tree" / "x").mkdir(parents=True)
            (folder / "tree" / "x" / source.name).write_bytes(source.read_bytes())
            found |= indexed(name, folder)
    return found


def indexed(name: str, folder: Path) -> dict[tuple[str, str], dict[str, object] | str]:
    with Store(folder / "conquest.db", STOCK) as store:
        Scan(store, lambda event: None).run([Tree("tree", (folder / "tree").resolve())], here)
        refused = store.connection.execute("SELECT reason FROM rules_files WHERE outcome != 'indexed'").fetchone()
        store.connection.row_factory = sqlite3.Row
        return {
            (name, table): refused[0] if refused else dict(store.connection.execute(f"SELECT * FROM DICOM{table}").fetchone())
            for table in KEYS
        }


def test_every_row_equals_the_row_of_the_server(shared: Path, rows: dict[tuple[str, str], dict[str, object] | str]) -> None:
    """The only differences are those that `conquest/README.md` lists as not to be imitated, and decoded text."""
    outcomes: Counter[str] = Counter()
    for table in KEYS:
        for theirs in golden(shared, table):
            mine = rows.get((theirs["source_file"], table))
            if mine is None:
                assert theirs["source_file"].startswith("0009703828/")  # a sample of Conquest, not in pydicom's wheel
            elif isinstance(mine, str):
                # The server takes a file without SOPInstanceUID, and overwrites ObjectFile of every image of that patient.
                assert mine == "no-SOPInstanceUID"
                outcomes["refused"] += 1
            else:
                outcomes.update(compared(theirs, mine, column) for column in theirs if column != "source_file")
    assert outcomes.pop("same") > 5000
    assert set(outcomes) == {"refused", "invented patient", "decoded"}, outcomes


def compared(theirs: dict[str, str], mine: dict[str, object], column: str) -> str:
    if column == "AccessTime":
        return "same" if isinstance(mine[column], int) else "different"
    value = None if theirs[column] == "<NULL>" else theirs[column]
    if mine[column] == value or (column == "StudyModal" and (mine[column] or "") == (value or "")):
        return "same"
    if column in ("PatientID", "SeriesPat", "ImagePat") and mine[column] == "":
        return "invented patient"
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), (value or "").encode())
    path = Path(pydicom.__file__).parent / "data" / theirs["source_file"]
    encodings = convert_encodings(pydicom.dcmread(path).get("SpecificCharacterSet"))
    decoded = decode_bytes(raw, encodings, {ord("^"), ord("=")})
    return "decoded" if mine[column] == decoded else f"{theirs['source_file']} {column}: {mine[column]!r} for {value!r}"


def test_files_that_the_server_rejects_are_rejected_or_read_better(
    shared: Path, rows: dict[tuple[str, str], dict[str, object] | str]
) -> None:
    with (shared / "conquest" / "golden_single_log.csv").open(newline="") as file:
        failed = [f"{row['dir']}/{row['file']}" for row in csv.DictReader(file) if row["status"] == "FAILED"]
    better = {name for name in failed if (name, "Images") in rows and not isinstance(rows[name, "Images"], str)}
    # Big endian without meta information, and a deflated data set: right files, which the server cannot read.
    assert better == {"test_files/ExplVR_BigEndNoMeta.dcm", "test_files/image_dfl.dcm"}
