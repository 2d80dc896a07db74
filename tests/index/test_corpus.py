"""The corpus of real files: all are reported, all good ones are indexed, and old queries and views agree."""

import base64
import csv
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.conftest import Done, Workplace


@pytest.fixture(scope="module")
def workplace(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace beside the corpus, which is only read."""
    return Workplace(tmp_path_factory.mktemp("corpus")).rules(f"[sources.corpus]\npath = {json.dumps(str(shared / 'corpus'))}\n")


@pytest.fixture(scope="module")
def done(workplace: Workplace) -> Done:
    """One run of `index` for all tests of this module."""
    return workplace.run("index", "--json", "--report", "report.jsonl")


@pytest.fixture(scope="module")
def told(workplace: Workplace, done: Done, shared: Path) -> dict[str, tuple[str, str | None]]:
    """Outcome and reason of every file of the corpus. Each must be reported once."""
    lines = [json.loads(line) for line in (workplace.folder / "report.jsonl").read_text().splitlines()]
    paths = [os.path.relpath(os.fsdecode(base64.b64decode(line["path_b64"])), (shared / "corpus").resolve()) for line in lines]
    assert len(paths) == len(set(paths))
    return {path: (line["outcome"], line["reason"]) for path, line in zip(paths, lines, strict=True)}


@pytest.fixture(scope="module")
def manifest(shared: Path) -> Sequence[dict[str, str]]:
    with (shared / "corpus" / "MANIFEST.tsv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def query(workplace: Workplace, sql: str) -> list[tuple[Any, ...]]:
    found = workplace.run("query", sql, "--json")
    assert found.code == 0, found.err
    return [tuple(line["values"].values()) for line in found.lines if line["event"] == "row"]


def test_every_file_is_reported_once(told: dict[str, Any], shared: Path) -> None:
    corpus = shared / "corpus"
    assert set(told) == {str(path.relative_to(corpus)) for path in corpus.rglob("*") if not path.is_dir()}


def test_every_good_instance_is_indexed(workplace: Workplace, done: Done, manifest: Sequence[dict[str, str]]) -> None:
    good = {row["sop"] for row in manifest if not row["bad"] and row["sop"]}
    assert len(good) > 700
    assert good <= {uid for (uid,) in query(workplace, "SELECT SOPInstanceUID FROM images")}


def test_files_that_are_not_indexed_have_a_reason(
    told: dict[str, tuple[str, str | None]], manifest: Sequence[dict[str, str]]
) -> None:
    assert all(reason for outcome, reason in told.values() if outcome != "indexed")
    good = {row["path"] for row in manifest if not row["bad"] and row["sop"]}
    # Of files with one SOPInstanceUID one is indexed; nothing else keeps a good file out.
    assert {reason for path, (_, reason) in told.items() if path in good} <= {None, "same-bytes", "conflict"}


def test_the_counts_equal_the_report(done: Done, told: dict[str, tuple[str, str | None]]) -> None:
    outcomes = Counter(outcome for outcome, _ in told.values())
    assert done.code == 1
    assert done.summary["seen"] == done.summary["read"] == len(told)
    assert {name: done.summary[name] for name in ("indexed", "duplicate", "rejected")} == dict(outcomes)


def test_the_second_run_reads_nothing(workplace: Workplace, done: Done) -> None:
    again = workplace.run("index", "--json").summary
    assert (again["read"], again["unchanged"]) == (0, done.summary["seen"])


@pytest.mark.parametrize(
    ("old", "by_keyword"),
    [
        ("select seriesinst from dicomseries where modality='CT'", "SELECT SeriesInstanceUID FROM series WHERE Modality = 'CT'"),
        ("select Objectfile from DICOMImages where Modality='RTDOSE'", "SELECT ObjectFile FROM images WHERE Modality = 'RTDOSE'"),
        ("select PatientID from dicompatients", "SELECT coalesce(PatientID, '') FROM patients"),
        ("select StudyInsta from dicomstudies", "SELECT StudyInstanceUID FROM studies"),
        ("select sopinstanc from dicomimages", "SELECT SOPInstanceUID FROM images"),
        ("select SeriesInst from v_series", "SELECT SeriesInstanceUID FROM series"),
        (
            "select SOPInstanc from v_seriesRT",
            "SELECT SOPInstanceUID FROM images WHERE Modality IN ('RTPLAN', 'RTDOSE', 'RTSTRUCT')",
        ),
    ],
)
def test_old_queries_select_the_same_rows_as_the_views(workplace: Workplace, done: Done, old: str, by_keyword: str) -> None:
    found = sorted(query(workplace, old))
    assert found
    assert found == sorted(query(workplace, by_keyword))


def test_counts_of_the_views_agree(workplace: Workplace, done: Done) -> None:
    ((images,),) = query(workplace, "SELECT count(*) FROM images")
    assert images == done.summary["indexed"]
    for view in ("patients", "studies", "series"):
        assert query(workplace, f"SELECT sum(ImageCount) FROM {view}") == [(images,)]
    assert query(workplace, "SELECT count(*) FROM images WHERE FileSize IS NULL OR Source IS NULL") == [(0,)]


def test_names_in_any_character_set_are_as_pydicom_reads_them(workplace: Workplace, done: Done, shared: Path) -> None:
    shown = dict(query(workplace, "SELECT ObjectFile, PatientName FROM images WHERE ObjectFile LIKE '%charset_files%'"))
    names = {path: str(pydicom.dcmread(shared / "corpus" / path).get("PatientName", "")) for path in shown}
    # pydicom leaves out an empty group at the end; the view has the name as it is written.
    assert {path: name.rstrip("=") for path, name in shown.items()} == names
    assert sum(not name.isascii() for name in names.values()) >= 10


def test_numbers_are_numbers_wherever_pydicom_reads_one(workplace: Workplace, done: Done, shared: Path) -> None:
    rows = query(
        workplace, "SELECT ObjectFile, Rows, SliceThickness, InstanceNumber FROM images WHERE SliceThickness IS NOT NULL"
    )
    for path, *values in rows[::25]:
        dataset = pydicom.dcmread(shared / "corpus" / path, stop_before_pixels=True)
        for keyword, value in zip(("Rows", "SliceThickness", "InstanceNumber"), values, strict=True):
            expected = dataset.get(keyword)
            assert value == (expected if expected is None or expected == "" else float(expected)), (path, keyword)
