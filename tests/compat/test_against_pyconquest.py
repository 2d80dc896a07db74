"""Old scripts do the same with our class as with pyconquest 0.1.12. Every difference is listed here with its reason."""

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.compat.conftest import Ran
from tests.compat.scripts import CT5N, SCRIPTS

Row = dict[str, Any]

# Return values that differ: the reason, and our value.
GIVEN: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "slices": (
        "one slice alone is not uneven; positions are in whole micrometres, along the normal of the slices",
        lambda given: [
            [uid for uid in given[0] if not uid.endswith((".12322", ".5457"))],
            [{**row, "min_sliceposition": "-1.238", "max_sliceposition": "8.762"} for row in given[1]],
        ],
    ),
}

NOT_PRINTED = "only the summary is printed; what else pyconquest prints goes to the log"
SUMMARY = "    PatientID    nrCT"

# Columns whose values differ, and why.
DIFFERENT = {
    "StudyModal": "made from the series of the study, as a Conquest server does; pyconquest reads an element that few files have",
    "DatabaseTimeStamp": "the time",
    "StudyInst": "of two studies the one that is read first: ours reads by name, pyconquest as the disk lists",
    "N_slices": "see `slices`",
    "min_sliceposition": "see `slices`",
    "max_sliceposition": "see `slices`",
    "ScanRange": "see `slices`",
    "SliceThickness": "see `slices`",
    "UniqueSliceDistance": "see `slices`",
}

# Columns of pyconquest's built-in layout that the standard layout lacks, or has under the name of Conquest.
MISSING = dict.fromkeys(("Referenced", "Referenced:1"), "of images: an element that no image has at its top level")

TABLES = {"DICOMPatients": "PatientID", "DICOMStudies": "StudyInsta", "DICOMSeries": "SeriesInst", "DICOMImages": "SOPInstanc"}


def read(database: Path, query: str) -> list[Row]:
    with closing(sqlite3.connect(database)) as connection:
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def tables(database: Path) -> dict[str, set[str]]:
    """Return the tables that both have, with their columns."""
    names = [row["name"] for row in read(database, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    kept = [name for name in names if not name.startswith(("rules_", "sqlite_")) and name not in ("UIDMODS", "geometry")]
    return {name.lower(): {row["name"].lower() for row in read(database, f"PRAGMA table_info({name})")} for name in kept}


def meant(column: str, value: object) -> object:
    """Return a value without the parts that differ in every row."""
    if value in ("", "None", None):
        return None  # a missing value is NULL in ours, as in a Conquest server; "" or the text "None" in pyconquest
    if column == "ElementList":  # JSON in ours, in pyconquest the text of a list without its quotes
        words = filter(None, (word.strip() for word in re.split(r"[\[\],'\"\\]", str(value))))
        return [float(word) if re.fullmatch(r"[-+.\de]*\d", word) else word for word in words]
    if column == "ElementCount":  # a number in ours
        return int(str(value))
    if isinstance(value, str) and "\\" in value:  # ours is as in the file; pyconquest leaves spaces in the place of quotes
        return [part.strip() for part in value.split("\\")]
    return value


def comparable(row: Row, columns: set[str]) -> dict[str, object]:
    wanted = columns - DIFFERENT.keys()
    return {column: meant(column, value) for column, value in row.items() if column in wanted}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_returns_and_prints_the_same(script: str, real: Ran, ours: Ran) -> None:
    theirs, mine = real.results[script], ours.results[script]
    _, change = GIVEN.get(script, ("", lambda given: given))
    assert "Traceback" not in str(theirs["given"]), theirs["given"]
    assert mine["given"] == change(theirs["given"])
    printed = "".join(theirs["printed"].partition(SUMMARY)[1:])
    assert mine["printed"] == printed, NOT_PRINTED


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_leaves_the_same_files(script: str, real: Ran, ours: Ran) -> None:
    theirs, mine = real.files(script), ours.files(script)
    assert sorted(mine) == sorted(theirs)
    assert mine == theirs


@pytest.mark.parametrize("script", [script for script in SCRIPTS if script != "names_and_values"])
def test_a_script_leaves_the_same_rows(script: str, real: Ran, ours: Ran) -> None:
    theirs, mine = tables(real.database(script)), tables(ours.database(script))
    assert mine.keys() == theirs.keys()
    for table, key in TABLES.items():
        lacking = theirs[table.lower()] - mine[table.lower()]
        assert lacking <= {name.lower() for name in MISSING}, (table, lacking)
        if script == "names_of_ones_own":
            assert not lacking, "both read one dicom.sql"
        expected, got = (read(of.database(script), f"SELECT * FROM {table} ORDER BY {key}") for of in (real, ours))
        both = set(expected[0]) & set(got[0]) if expected and got else {key}
        assert [comparable(row, both) for row in got] == [comparable(row, both) for row in expected], table
    for table in theirs.keys() - {name.lower() for name in TABLES} - {"dicomworklist"}:
        query = f"SELECT * FROM {table}"
        assert read(ours.database(script), query) == read(real.database(script), query), table


# From the README of pyconquest and conquest/README.md, "Queries that must run unchanged".
QUERIES = (
    "select seriesinst,* from dicomseries where modality='CT'",
    'select seriesinst,* from dicomseries where modality="CT"',
    "Select Objectfile from DICOMimages where Modality='RTDOSE'",
    f"select ObjectFile,ImagePat from dicomimages where seriesinst='{CT5N}'",
    "select seriesinst from dicomseries where modality='RTPLAN'",
    "select SeriesInst from dicomseries where seriespat='98890234'",
    "select * from dicompatients",
    "select * from dicomstudies",
    "select * from v_series",
    "select * from v_seriesRT",
    "select patientid, modality, studydate, seriesdesc from v_series where modality in ('CT', 'MR')",
    "select objectfile, elementcount, nfractions, referencedsopuid from v_seriesrt where modality='RTPLAN'",
    "select d2.modality from dicomimages d1 join dicomimages d2 on d2.sopinstanc = d1.referencedsopuid",
    "select name from sqlite_master where type='table' and lower(name)='dicomseries'",
    "select max(cast(slicelocat as float)), max(cast(slicethick as float)) from dicomimages where slicethick != 'None'",
)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_returns_the_same_rows(query: str, real: Ran, ours: Ran) -> None:
    expected, got = (read(of.database("rebuild"), query) for of in (real, ours))
    lacking = set(expected[0] if expected else {}) - set(got[0] if got else {})
    assert lacking <= MISSING.keys()
    both = set(expected[0]) & set(got[0]) if expected and got else set()
    assert len(got) == len(expected)
    if query != QUERIES[-2]:  # DICOMSeries in Conquest, DICOMseries in pyconquest: SQL ignores case
        theirs, mine = (sorted(str(sorted(comparable(row, both).items())) for row in rows) for rows in (expected, got))
        assert mine == theirs


GOLDEN: dict[str, str] = json.loads(Path(__file__).with_name("signatures.json").read_text(encoding="utf-8"))


def test_the_methods_are_those_of_pyconquest(ours: Ran) -> None:
    assert ours.results["signatures"] == GOLDEN


def test_the_recorded_methods_are_those_of_pyconquest(real: Ran) -> None:
    assert real.results["signatures"] == GOLDEN
