"""`explain`: whom a step collides with, and why a set does not hold an instance."""

from typing import Any

import pytest

from tests.conftest import Instance, Workplace
from tests.plan.manual import SOURCE, action


def explained(workplace: Workplace, what: str) -> dict[str, Any]:
    done = workplace.run("explain", what, "--json")
    assert done.code == 0
    return done.lines[0]


@pytest.mark.parametrize(
    ("to", "mine", "other"),
    [
        ("o/x.dcm", {}, {}),
        ("o/{{ PatientID }}.dcm", {"PatientID": "abc"}, {"PatientID": "ABC"}),
        ("o/{{ PatientID }}/{{ InstanceNumber }}.dcm", {"PatientID": "abc"}, {"PatientID": "ABC"}),
        ("o/{{ PatientID }}/{{ InstanceNumber }}.dcm", {"PatientID": "a/b"}, {"PatientID": "a_b"}),
        ("o/{{ StudyDescription }}", {"StudyDescription": "x"}, {"StudyDescription": "X"}),
        (
            "o/{% if InstanceNumber == 1 %}{{ PatientID }}{% else %}{{ PatientID }}/{{ InstanceNumber }}{% endif %}",
            {"PatientID": "p"},
            {"PatientID": "p"},
        ),
    ],
    ids=["one path", "case of a name", "case of a folder", "made safe", "no extension", "a file and a folder"],
)
def test_the_partner_of_a_collision_is_named(
    workplace: Workplace, instance: Instance, to: str, mine: dict[str, str], other: dict[str, str]
) -> None:
    series = ("SeriesInstanceUID", "StudyInstanceUID")
    instance("data/mine.dcm", SOPInstanceUID="1.2.1", InstanceNumber=1, **dict.fromkeys(series, "1.3.1"), **mine)
    theirs = instance("data/theirs.dcm", SOPInstanceUID="1.2.2", InstanceNumber=2, **dict.fromkeys(series, "1.3.2"), **other)
    instance("data/far.dcm", SOPInstanceUID="1.2.3", InstanceNumber=3, PatientID="far", StudyDescription="far")
    workplace.rules(SOURCE + action("a", to if to != "o/x.dcm" else "o/{% if InstanceNumber < 3 %}x{% else %}y{% endif %}"))
    assert workplace.run("index").code == 0
    # What lies in a folder of that name is not blocked by the file.
    for uid, partner in (("1.2.1", "1.2.2"), ("1.2.2", "1.2.1"))[: 1 if "{% if" in to else 2]:
        [step] = explained(workplace, uid)["steps"]
        assert step["reason"] == "collision"
        assert [found["SOPInstanceUID"] for found in step["partners"]] == [partner]
    assert str(theirs) in workplace.run("explain", "1.2.1").out
    assert "partners" not in explained(workplace, "1.2.3")["steps"][0]


def test_of_many_partners_the_first_are_named_and_the_rest_counted(workplace: Workplace, instance: Instance) -> None:
    for number in range(9):
        instance(f"data/{number}.dcm", SOPInstanceUID=f"1.2.{number}")
    workplace.rules(SOURCE + action("a", "o/x.dcm"))
    assert workplace.run("index").code == 0
    [step] = explained(workplace, "1.2.4")["steps"]
    assert (len(step["partners"]), step["others"]) == (5, 3)
    assert "and 3 more" in workplace.run("explain", "1.2.4").out


def test_the_partner_of_another_action_and_of_a_move(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", SOPInstanceUID="1.2.1")
    workplace.rules(SOURCE + action("moved", "o/x.dcm", mode="move") + action("later", "o/y.dcm"))
    assert workplace.run("index").code == 0
    moved = next(step for step in explained(workplace, "1.2.1")["steps"] if step["status"] == "blocked")
    assert [(partner["action"], partner["destination"]) for partner in moved["partners"]] == [("copy.later", "o/y.dcm")]


def test_the_instance_that_was_put_there_earlier_is_named(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", SOPInstanceUID="1.2.1", InstanceNumber=1)
    workplace.rules(SOURCE + action("a", "o/{{ PatientID }}.dcm"))
    assert workplace.run("apply").code == 0
    (workplace.folder / "data/1.dcm").unlink()
    instance("data/2.dcm", SOPInstanceUID="1.2.2", InstanceNumber=2)
    assert workplace.run("index", "--allow-vanish").code == 0
    [step] = explained(workplace, "1.2.2")["steps"]
    assert step["reason"] == "conflict"
    assert [partner["SOPInstanceUID"] for partner in step["partners"]] == ["1.2.1"]


@pytest.mark.parametrize(
    ("condition", "has"),
    [
        ("where = \"Modality = 'MR' and ImageCount > 20\"", {"Modality": "CT", "ImageCount": 1}),
        ("where = \"StudyDate >= '20250101' -- not PatientID\"", {"StudyDate": "20240203"}),
        ("where = \"SeriesDescription like '%Modality%'\"", {"SeriesDescription": None}),
        ("where = \"SeriesInstanceUID = '1.9'\"", {"SeriesInstanceUID": "1.2.826.0.1.3680043.10.3.1"}),
        (
            "query = \"select distinct SeriesInstanceUID from images where InstanceNumber > :n and patientid = 'x'\"\n"
            "params = { n = 7 }",
            {"PatientID": "P1", "InstanceNumber": 1},
        ),
        ('query = "select SeriesInst as SeriesInstanceUID from DICOMSeries where 0"', {}),
    ],
)
def test_a_set_that_does_not_hold_it_says_what_its_row_has(
    workplace: Workplace, instance: Instance, condition: str, has: dict[str, Any]
) -> None:
    instance("data/1.dcm", SOPInstanceUID="1.2.1", InstanceNumber=1)
    workplace.rules(f'{SOURCE}[select.lacking]\nlevel = "series"\n{condition}\n')
    assert workplace.run("index").code == 0
    found = explained(workplace, "1.2.1")
    assert (found["sets"], found["not_in"]) == (["everything"], [{"set": "lacking", "has": has}])
    words = ", ".join(f"{name} {'has no value' if value is None else f'is {value}'}" for name, value in has.items())
    assert f"  not in lacking{': ' if has else ''}{words}\n" in workplace.run("explain", "1.2.1").out


def test_a_file_in_conflict_leads_to_the_file_that_counts(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", SOPInstanceUID="1.2.1", InstanceNumber=1)
    instance("data/2.dcm", SOPInstanceUID="1.2.1", InstanceNumber=2)
    workplace.rules(SOURCE).run("index")
    refused = workplace.run("explain", "data/2.dcm")
    assert refused.code == 2
    assert "explain 1.2.1 shows the file that is" in refused.err
