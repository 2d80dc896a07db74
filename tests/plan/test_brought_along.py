"""`plan` warns where a set of studies or series brings along instances of another PatientID."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.conftest import Done, Instance, Workplace

RULES = """
outputs = ["out"]
[sources.data]
path = "data"
{more}
[select.s]
level = "{level}"
{query}
[copy.c]
select = "s"
to = "out/{{{{ SOPInstanceUID }}}}.dcm"
[nodes.n]
ae_title = "N"
host = "127.0.0.1"
port = 9
[send.t]
select = "s"
node = "n"
"""

STUDIES = "query = \"select StudyInstanceUID from studies where PatientID = 'P1'\""
SHOW = 'to see them: pyconquest-rules query "select * from contradictions"'


def rules(level: str, query: str, more: str = "") -> str:
    return RULES.format(level=level, query=query, more=more)


def warnings(done: Done) -> dict[str, int]:
    return {line["action"]: line["instances"] for line in done.lines if line["event"] == "warning"}


@pytest.fixture
def mixed(workplace: Workplace, instance: Instance) -> Workplace:
    """A study of P1 whose series `1.2` has an image of P2, and whose series `1.3` is of P2; P2 and P3 have studies too."""
    for number, (patient, series) in enumerate([("P1", "1.2"), ("P1", "1.2"), ("P2", "1.2"), ("P2", "1.3"), ("P2", "1.3")]):
        instance(f"data/{number}.dcm", PatientID=patient, SeriesInstanceUID=series, SOPInstanceUID=f"1.9.{number}")
    for patient in ("P2", "P3"):
        instance(
            f"data/{patient}.dcm", PatientID=patient, StudyInstanceUID=f"2.{patient[1]}", SeriesInstanceUID=f"3.{patient[1]}"
        )
    return workplace


@pytest.mark.parametrize(
    ("level", "query", "instances"),
    [
        ("study", STUDIES, 3),
        ("study", "where = \"PatientID = 'P1'\"", 3),
        ("study", 'where = "true"', 3),
        ("study", "query = \"select distinct StudyInstanceUID from images where PatientID = 'P2'\"", 3),
        ("study", "query = \"select StudyInsta from DICOMStudies where PatientID = 'P1'\"", 3),
        ("series", "where = \"PatientID = 'P1'\"", 1),
        ("series", 'where = "true"', 1),
        (
            "series",
            "query = \"select SeriesInstanceUID, 'a' as arm from series union all select SeriesInstanceUID, 'b' from series\"",
            1,
        ),
        ("series", "where = \"SeriesInstanceUID = '1.3'\"", 0),
        ("study", "where = \"PatientID in ('P2', 'P3')\"", 0),
        ("patient", "where = \"PatientID = 'P1'\"", 0),
        ("patient", 'where = "true"', 0),
        ("image", "where = \"PatientID = 'P1'\"", 0),
        ("image", 'where = "true"', 0),
    ],
)
def test_plan_warns_of_what_a_set_brings_along(mixed: Workplace, level: str, query: str, instances: int) -> None:
    plan = mixed.rules(rules(level, query)).run("plan", "--json", "--detailed-exitcode")
    expected = {"copy.c": instances, "send.t": instances} if instances else {}
    assert (warnings(plan), plan.summary["contradictions"]) == (expected, expected)
    assert plan.code in (1, 3)
    said = mixed.run("plan", "--no-index").err
    assert (SHOW in said) == bool(instances)
    assert "P1" not in said
    assert "P2" not in said


def test_the_warning_says_how_many_and_changes_no_exit_code(mixed: Workplace) -> None:
    plan = mixed.rules(rules("study", STUDIES)).run("plan", "copy")
    assert plan.code == 0
    said = "warning: copy.c: 3 selected instances have another PatientID than their study or series; " + SHOW
    assert plan.err.splitlines().count(said) == 1
    assert "todo" in plan.out
    assert mixed.run("query", "select * from contradictions", "--json").summary["rows"] == 3
    applied = mixed.run("apply", "copy", "--json")
    assert (applied.code, warnings(applied), applied.summary["done"]) == (0, {"copy.c": 3}, 5)
    assert mixed.run("plan", "copy", "--json").summary["contradictions"] == {"copy.c": 3}


def test_a_saved_plan_warns_too(mixed: Workplace) -> None:
    mixed.rules(rules("study", STUDIES)).run("plan", "copy", "-o", "plan.db")
    applied = mixed.run("apply", "--plan", "plan.db", "--json")
    assert (applied.code, warnings(applied)) == (0, {"copy.c": 3})


def noted(workplace: Workplace) -> list[Any]:
    """The studies that are looked through."""
    with closing(sqlite3.connect(workplace.folder / "conquest.db")) as index:
        return index.execute("SELECT StudyInstanceUID FROM rules_several_patients").fetchall()


def test_without_contradictions_nothing_is_looked_through(workplace: Workplace, instance: Instance) -> None:
    for number in range(6):
        instance(
            f"data/{number}.dcm", PatientID=f"P{number % 3}", StudyInstanceUID=f"1.{number % 3}", SeriesInstanceUID=f"2.{number}"
        )
    plan = workplace.rules(rules("study", 'where = "true"')).run("plan", "copy", "--json")
    assert (plan.summary["contradictions"], noted(workplace)) == ({}, [])


def test_what_is_corrected_is_not_warned_of(mixed: Workplace, instance: Instance) -> None:
    mixed.rules(rules("study", 'where = "true"')).run("index")
    for number, series in ((2, "1.2"), (3, "1.3"), (4, "1.3")):
        instance(f"data/{number}.dcm", PatientID="P1", SeriesInstanceUID=series, SOPInstanceUID=f"1.9.{number}")
    assert mixed.run("plan", "copy", "--json").summary["contradictions"] == {}
    assert noted(mixed) == []


@pytest.mark.parametrize("changed", [(0,), (0, 1), (2,), (0, 1, 2), (3, 4), (1, 3), (0, 2, 4)])
def test_whatever_changes_it_is_as_in_a_new_index(mixed: Workplace, instance: Instance, changed: tuple[int, ...]) -> None:
    """Files change their patient, and some their study: the view and the warning are those of an index made anew."""
    mixed.rules(rules("study", 'where = "true"')).run("index")
    for number in changed:
        study = {"StudyInstanceUID": "2.3"} if number == 4 else {}
        patient, series = ("P1", "P3", "P1", "P3", "P2")[number], "1.2" if number < 3 else "1.3"
        instance(f"data/{number}.dcm", PatientID=patient, SeriesInstanceUID=series, SOPInstanceUID=f"1.9.{number}", **study)
    (mixed.folder / "data/1.dcm").unlink(missing_ok=1 not in changed)
    mixed.run("index")
    with closing(sqlite3.connect(mixed.folder / "conquest.db")) as index:
        # Every study looked through finds what the noted ones find: none was forgotten.
        names = [row[0] for row in index.execute("SELECT SOPInstanceUID FROM rules_patient_of WHERE PatientID != of_study")]
        index.execute("INSERT OR IGNORE INTO rules_several_patients SELECT StudyInsta FROM DICOMStudies")
        whole = [row[0] for row in index.execute("SELECT SOPInstanceUID FROM rules_patient_of WHERE PatientID != of_study")]
    assert sorted(names) == sorted(whole)


def test_a_layout_without_patients_of_images_says_nothing(mixed: Workplace) -> None:
    from pyconquest_rules.index.conquest.dicom_sql import standard_text

    lines = [line for line in standard_text().splitlines() if '"ImagePat"' not in line]
    (mixed.folder / "dicom.sql").write_text("\n".join(lines))
    more = '[index]\ndicom_sql = "dicom.sql"\n'
    plan = mixed.rules(rules("study", 'where = "true"', more)).run("plan", "copy", "--json")
    assert (plan.code, plan.summary["contradictions"]) == (0, {})


def test_the_lines_are_json(mixed: Workplace) -> None:
    done = mixed.rules(rules("series", 'where = "true"')).run("plan", "copy", "--json")
    (line,) = (json.loads(line) for line in done.out.splitlines() if '"warning"' in line)
    message = "1 selected instance has another PatientID than its study or series; " + SHOW
    assert line == {"event": "warning", "action": "copy.c", "instances": 1, "message": message}
