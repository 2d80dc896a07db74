"""`bad-value`: a value that a filter cannot use blocks its step, named by its kind and never shown."""

import pytest

from tests.conftest import Instance, Workplace
from tests.plan.manual import copies

KINDS = {
    "2024": "is a year without a month and a day",
    "0001": "is a year without a month and a day",
    "202402": "is a year and a month without a day",
    "2024.02": "is a year and a month without a day",
    "2024-02": "is a year and a month without a day",
    "00010101": "is a date of an impossible year",
    "00000000": "is a date of an impossible year",
    "0999.12.31": "is a date of an impossible year",
    "20240230": "is a date that is not in the calendar",
    "20230229": "is a date that is not in the calendar",
    "20241301": "is a date that is not in the calendar",
    "20240100": "is a date that is not in the calendar",
    "2024.02.30": "is a date that is not in the calendar",
    "2024-02-03": "is a date in another form",
    "03.02.2024": "is a date in another form",
    "2024/02/03": "is a date in another form",
    "20240203101500": "is a date with a time",
    "20240203-20240204": "is a range of dates",
    "20240203-": "is a range of dates",
    "yesterday": "is not a date",
    "2024020": "is not a date",
    "0": "is not a date",
}


@pytest.mark.parametrize("value", KINDS)
def test_a_value_that_is_no_date(workplace: Workplace, instance: Instance, value: str) -> None:
    instance("data/1.dcm", StudyDate=value)
    instance("data/2.dcm", StudyDate="20240203", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4")
    workplace.rules(copies("export/{{ StudyDate | date('%Y-%m') }}/{{ SOPInstanceUID }}.dcm"))
    plan = workplace.run("plan", "--list", "--json")
    assert (plan.code, plan.summary["reasons"]) == (1, {"todo:new": 1, "blocked:bad-value": 1})
    (step,) = (line for line in plan.lines if line.get("status") == "blocked")
    assert step["message"] == f'StudyDate {KINDS[value]}; the filter "date" needs a date as YYYYMMDD'
    assert len(value) < 4 or value not in step["message"]
    assert workplace.run("apply", "--json").summary["done"] == 1


@pytest.mark.parametrize("value", ["20240203", "2024.02.03", "19000228", "99991231", "20000229"])
def test_a_date_is_a_date(workplace: Workplace, instance: Instance, value: str) -> None:
    instance("data/1.dcm", StudyDate=value)
    workplace.rules(copies("export/{{ StudyDate | date('%Y%m%d') }}.dcm"))
    assert workplace.run("apply", "--json").summary["done"] == 1
    assert [*workplace.files("export")] == [f"{value.replace('.', '')}.dcm"]


@pytest.mark.parametrize("value", ["2024", "00010101", "20240230", "2024-02-03", "x"])
def test_a_default_stands_for_a_bad_value(workplace: Workplace, instance: Instance, value: str) -> None:
    instance("data/1.dcm", StudyDate=value)
    workplace.rules(copies("export/{{ StudyDate | date('%Y') | default('undated') }}.dcm"))
    assert workplace.run("plan", "--json").summary["reasons"] == {"todo:new": 1}


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ StationName | slug }}", 'StationName becomes empty with the filter "slug"'),
        ("{{ StationName | replace('\u7530\u4e2d', '') }}", 'StationName becomes empty with the filter "replace"'),
        ("{{ InstanceNumber | date('%Y') }}", 'InstanceNumber is not a date; the filter "date" needs a date as YYYYMMDD'),
        (
            "{% if StationName < 5 %}a{% else %}b{% endif %}",
            "StationName cannot be compared: one side is a number, the other a text",
        ),
        ("{% if InstanceNumber >= 'm' %}a{% else %}b{% endif %}", "InstanceNumber cannot be compared: one side is a number,"),
        ("{{ 'a' if 5 > StationName else 'b' }}", "StationName cannot be compared: one side is a number, the other a text"),
    ],
)
def test_what_else_a_template_cannot_use(workplace: Workplace, instance: Instance, template: str, message: str) -> None:
    instance("data/1.dcm", StationName="\u7530\u4e2d", InstanceNumber=1)
    workplace.rules(copies(f"export/{template}/x.dcm"))
    step = workplace.run("plan", "--list", "--json").lines[0]
    assert (step["status"], step["reason"]) == ("blocked", "bad-value")
    assert step["message"].startswith(message)


def test_no_path_at_all_stays_unsafe(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules(copies("export/{% if Modality == 'MR' %}b{% endif %}/x.dcm"))
    assert workplace.run("plan", "--json").summary["reasons"] == {"blocked:unsafe-path": 1}
