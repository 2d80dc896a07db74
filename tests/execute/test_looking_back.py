"""`status`, `history`, `explain`, `summary` and `query` after something was done."""

from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace
from tests.plan.manual import copies

TO = "export/{{ PatientID }}/{{ InstanceNumber }}.dcm"
STUDY, SERIES = "1.2.826.0.1.3680043.10.2.1", "1.2.826.0.1.3680043.10.3.1"


@pytest.fixture
def exported(workplace: Workplace, instance: Instance) -> Workplace:
    """Two instances that were copied, one that has no place, and a file that is no DICOM."""
    instance("data/1.dcm", InstanceNumber=1, SOPInstanceUID="1.2.1")
    instance("data/2.dcm", InstanceNumber=2, SOPInstanceUID="1.2.2")
    instance("data/3.dcm", InstanceNumber=None, SOPInstanceUID="1.2.3", PatientID="P2", SeriesInstanceUID="1.3", Modality="MR")
    (workplace.folder / "data/readme.txt").write_text("not DICOM " * 50)
    assert workplace.rules(copies(TO)).run("apply").code == 1
    return workplace


def test_status(exported: Workplace, instance: Instance) -> None:
    instance("data/4.dcm", InstanceNumber=4)
    assert exported.run("index").code == 0
    status = exported.run("status", "--json")
    assert status.code == 0
    action, summary = status.lines
    assert action.pop("last").endswith("+00:00")
    assert action == {"event": "action", "action": "copy.export", "done": 2, "due": 1, "blocked": 1, "failed": 0}
    assert summary == {"event": "summary", "actions": 1, "due": 1, "blocked": 1, "refused": 0, "expectations": {}}
    assert exported.run("status").out.split() [:6] == ["action", "done", "due", "blocked", "failed", "last"]  # fmt: skip


def test_history(exported: Workplace) -> None:
    exported.run("apply", "copy.export")
    history = exported.run("history", "--json")
    assert history.code == 0
    newest, oldest, summary = history.lines
    assert summary == {"event": "summary", "runs": 2}
    assert [(run["number"], run["targets"], run["done"], run["unchanged"], run["blocked"]) for run in (newest, oldest)] == [
        (2, "copy.export", 0, 2, 1),
        (1, "", 2, 0, 1),
    ]
    assert {run["ending"] for run in (newest, oldest)} == {"done"}
    assert len(exported.run("history", "-n", "1", "--json").lines) == 2
    assert len(exported.run("history").out.splitlines()) == 3


def explained(workplace: Workplace, what: str | Path) -> list[str]:
    done = workplace.run("explain", str(what), "--json")
    assert done.code == 0
    return [line["SOPInstanceUID"] for line in done.lines if line["event"] == "instance"]


def test_explain_by_anything_that_names_an_instance(exported: Workplace) -> None:
    for what in ("data/1.dcm", exported.folder / "data/1.dcm", "export/P1/1.dcm", exported.folder / "export/P1/1.dcm", "1.2.1"):
        assert explained(exported, what) == ["1.2.1"]
    assert explained(exported, SERIES) == ["1.2.1", "1.2.2"]
    assert explained(exported, STUDY) == ["1.2.1", "1.2.2", "1.2.3"]
    assert explained(exported, "P2") == ["1.2.3"]


def test_explain_says_which_sets_and_what_each_action_makes_of_it(exported: Workplace) -> None:
    instance = exported.run("explain", "1.2.3", "--json").lines[0]
    assert instance["sets"] == ["everything"]
    assert instance["steps"] == [
        {
            "action": "copy.export",
            "status": "blocked",
            "reason": "missing-value",
            "SOPInstanceUID": "1.2.3",
            "destination": "",
            "message": "InstanceNumber has no value",
        }
    ]
    for_people = exported.run("explain", "1.2.1").out
    assert "sets   everything" in for_people
    assert "copy.export: unchanged (done) → export/P1/1.dcm" in for_people


def test_explain_says_why_a_file_is_not_in_the_index(exported: Workplace) -> None:
    refused = exported.run("explain", "data/readme.txt")
    assert refused.code == 2
    assert "it was rejected (not-dicom)" in refused.err


def test_explain_of_what_nobody_knows(exported: Workplace) -> None:
    assert exported.run("explain", "nowhere.dcm").code == 2


def test_summary(exported: Workplace) -> None:
    done = exported.run("summary", "--json")
    assert done.lines == [
        {"event": "patient", "PatientID": "P1", "series": {"CT": 1}},
        {"event": "patient", "PatientID": "P2", "series": {"MR": 1}},
        {"event": "summary", "patients": 2},
    ]
    assert [line.split() for line in exported.run("summary").out.splitlines()] == [
        ["PatientID", "CT", "MR"],
        ["P1", "1"],
        ["P2", "1"],
    ]


QUERY = "select PatientID, count(*) as n from images group by PatientID order by 1"


def test_query_as_table_csv_and_json(exported: Workplace) -> None:
    assert [line.split() for line in exported.run("query", QUERY).out.splitlines()] == [
        ["PatientID", "n"],
        ["P1", "2"],
        ["P2", "1"],
    ]
    assert exported.run("query", QUERY, "--format", "csv").out.split() == ["PatientID,n", "P1,2", "P2,1"]
    rows = [{"event": "row", "values": {"PatientID": patient, "n": n}} for patient, n in (("P1", 2), ("P2", 1))]
    assert exported.run("query", QUERY, "--format", "json").lines == [*rows, {"event": "summary", "rows": 2}]


def test_query_of_a_set_by_its_name(exported: Workplace) -> None:
    assert exported.run("query", "everything", "--json").summary == {"event": "summary", "rows": 3}


def test_a_query_that_writes_is_refused(exported: Workplace) -> None:
    refused = exported.run("query", "delete from DICOMImages")
    assert refused.code == 2
    assert "only reads" in refused.err
