"""Relative dates and variables in `match` and in SQL are filled in, or refused with their position, and never used literally."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from pyconquest_rules.app.loading import Rules
from pyconquest_rules.errors import RulesError
from pyconquest_rules.kinds.retrieve import matching
from pyconquest_rules.kinds.retrieve.rule import Retrieve
from tests.conftest import Instance, Workplace

BEGIN = """
[vars]
since = "20240105"
site = "A"
empty = { env = "NOT_SET_ANYWHERE", default = "" }

[sources.archive]
path = "archive"
layout = "{{ SOPInstanceUID }}.dcm"

[nodes.clinic]
ae_title = "CLINIC"
host = "127.0.0.1"
port = 11112
"""
PULL = BEGIN + '[retrieve.nightly]\nnode = "clinic"\nlevel = "study"\ninto = "archive"\nmatch = '
DAY = date(2026, 3, 1)


def pulls(workplace: Workplace, match: str) -> Rules:
    workplace.rules(PULL + "{ " + match + " }\n")
    return Rules.load(workplace.folder / "rules.toml")


def asked(rules: Rules, today: date = DAY) -> dict[str, str]:
    retrieve = rules.actions["retrieve.nightly"]
    assert isinstance(retrieve, Retrieve)
    return matching.on(retrieve.match, today)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ('StudyDate = "{{ vars.since }}"', {"StudyDate": "20240105"}),
        ('StudyDate = "{{ vars.since }}-"', {"StudyDate": "20240105-"}),
        (
            'StudyDate = "20240101-{{vars.since}}", PatientID = "{{ vars.site }}*"',
            {"StudyDate": "20240101-20240105", "PatientID": "A*"},
        ),
        ("PatientID = \"{{ vars.empty | default('X') }}-{{ vars.site | lower }}\"", {"PatientID": "X-a"}),
        ("ModalitiesInStudy = 'CT\\MR', PatientID = \"a/b {c}\"", {"ModalitiesInStudy": "CT\\MR", "PatientID": "a/b {c}"}),
        ("StudyDate = { last_days = 7 }", {"StudyDate": "20260222-20260301"}),
        ("StudyDate = { last_days = 0 }", {"StudyDate": "20260301-20260301"}),
        ("PatientBirthDate = { last_days = 365 }", {"PatientBirthDate": "20250301-20260301"}),
        ('StudyDate = "2024*", PatientID = ""', {"StudyDate": "2024*", "PatientID": ""}),
        ('StudyDate = "-20240229"', {"StudyDate": "-20240229"}),
    ],
)
def test_match_becomes_the_keys_of_the_query(workplace: Workplace, match: str, expected: dict[str, str]) -> None:
    assert asked(pulls(workplace, match)) == expected


def test_last_days_across_leap_years_and_before_the_first_year(workplace: Workplace) -> None:
    rules = pulls(workplace, "StudyDate = { last_days = 1 }")
    assert asked(rules, date(2024, 3, 1))["StudyDate"] == "20240229-20240301"
    assert asked(rules, date(2026, 1, 1))["StudyDate"] == "20251231-20260101"
    assert asked(rules, date(1, 1, 1))["StudyDate"] == "00010101-00010101"


@pytest.mark.parametrize(
    ("match", "message", "word"),
    [
        ('StudyDate = "{{ vars.sinse }}"', 'unknown variable "vars.sinse"', "vars.sinse"),
        ('StudyDate = "{{ since }}"', '"since" has no value here', "since"),
        ('StudyDate = "{{ StudyDate }}"', '"StudyDate" has no value here', "StudyDate"),
        ('StudyDate = "{{ vars.since"', "the template cannot be read", None),
        ('StudyDate = "{% if vars.since %}2024{% endif %}"', "{% if %} does not work here", "if"),
        ('PatientID = "{{ vars.empty }}"', "PatientID would match everything", None),
        ('StudyDate = "{{ vars.site }}"', "StudyDate is not a valid DICOM date", None),
        ('StudyDate = "today-7"', "StudyDate is not a valid DICOM date", "today-7"),
        ('StudyDate = "-7d"', "StudyDate is not a valid DICOM date", "-7d"),
        ('StudyDate = "2024-01-01"', "StudyDate is not a valid DICOM date", "2024-01-01"),
        ('StudyDate = "20240230-"', "StudyDate is not a valid DICOM date", "20240230-"),
        ('StudyDate = "20240301-20240201"', "the range of StudyDate ends before it begins", "20240301-20240201"),
        ("StudyDate = 2024-01-01", "must be text", "2024-01-01"),
        ("StudyDate = { last_days = -1 }", "must be a whole number from 0 to 36525", "last_days"),
        ('StudyDate = { last_days = "7" }', "must be a whole number from 0 to 36525", "last_days"),
        ("StudyDate = { last_days = true }", "must be a whole number from 0 to 36525", "last_days"),
        ("StudyDate = { last_day = 7 }", "must be text, or { last_days = N }", None),
        ("StudyDate = { last_days = 7, hours = 2 }", 'unknown key "hours"', "hours"),
        ("PatientID = { last_days = 7 }", "PatientID is not a date", "{ last_days"),
        ('PatientID = { env = "SITE" }', "must be text", None),
        ('PatientID = ["a", "b"]', "must be text", None),
        ("PatientID = 7", "must be text", "7"),
    ],
)
def test_an_invalid_match_is_an_error_at_its_position(workplace: Workplace, match: str, message: str, word: str | None) -> None:
    with pytest.raises(RulesError) as caught:
        pulls(workplace, match)
    (problem,) = caught.value.problems
    assert problem.message.startswith(message)
    assert problem.hint or "range" in message or "cannot be read" in message
    assert problem.source_line.startswith("match = ")
    if word is not None:
        assert problem.source_line[problem.column - 1 :].startswith(word)


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        ("[select.x]\nlevel = \"study\"\nwhere = \"StudyDate >= '{{ vars.since }}'\"", "templates do not work in SQL", ":since"),
        ('[select.x]\nlevel = "study"\nwhere = "StudyDate >= {{since}}"', "templates do not work in SQL", ":since"),
        (
            '[select.x]\nlevel = "study"\nquery = """select *\nfrom studies where StudyDate >= \'{{ vars.since }}\'"""',
            "templates do not work in SQL", ":since",
        ),
        ('[select.x]\nlevel = "study"\nwhere = "{% if vars.since %}1{% endif %}"', "templates do not work in SQL", ":NAME"),
        (
            '[select.x]\nlevel = "study"\nwhere = "StudyDate > :d"\nparams = { d = "{{ vars.since }}" }',
            "templates do not work in params", ":since",
        ),
        ('[sources.more]\npath = "{{ vars.site }}/data"', "templates do not work here", "[copy]"),
        ('[sources.more]\npath = "x"\nexclude = ["**/{{ vars.site }}"]', "templates do not work here", "[copy]"),
        ('[nodes.more]\nae_title = "X"\nport = 1\nhost = "{{ vars.site }}.example.org"', "templates do not work here", "[copy]"),
    ],
)  # fmt: skip
def test_a_template_is_an_error_where_none_works(workplace: Workplace, table: str, message: str, hint: str) -> None:
    workplace.rules(f"{BEGIN}\n{table}\n")
    with pytest.raises(RulesError) as caught:
        Rules.load(workplace.folder / "rules.toml")
    (problem,) = caught.value.problems
    assert problem.message == message
    assert hint in (problem.hint or "")
    assert problem.source_line[problem.column - 1] == "{"


def test_text_that_looks_like_a_template_is_text(workplace: Workplace) -> None:
    table = "[select.x]\nlevel = \"study\"\nwhere = \"StudyDescription like '%}}%' or StudyDescription = '{x}'\"\n"
    assert workplace.rules(BEGIN + table).run("check").code == 0


@pytest.mark.parametrize("name", ["vars", "params"])
def test_the_name_today_is_reserved(workplace: Workplace, name: str) -> None:
    table = '[select.x]\nlevel = "study"\nwhere = "StudyDate > :today"\n' + ("params = { today = 1 }" if name == "params" else "")
    vars = '[vars]\ntoday = "20260301"\n' if name == "vars" else ""
    done = workplace.rules(vars + '[sources.a]\npath = "a"\n' + table).run("check")
    assert done.code == 2
    assert '"today" is reserved' in done.err


@pytest.mark.parametrize(
    "where",
    [
        "StudyDate >= strftime('%Y%m%d', 'now', '-7 days')",
        "StudyDate >= date('NOW')",
        "StudyDate > replace(date(), '-', '')",
        "StudyDate > CURRENT_DATE",
        "julianday ( ) > 5",
        "datetime(\n 'now' , 'localtime') > StudyDate",
    ],
)
def test_a_set_must_not_read_the_clock(workplace: Workplace, where: str) -> None:
    table = f'[select.x]\nlevel = "study"\nwhere = """{where}"""\n'
    done = workplace.rules(BEGIN + table).run("check")
    assert done.code == 2
    assert "a set must not read the clock" in done.err
    assert "write :today" in done.err


def test_now_as_a_value_and_dates_of_values_are_accepted(workplace: Workplace) -> None:
    where = "date(substr(StudyDate, 1, 4) || '-01-01', '+1 day') > :today -- date('now')"
    table = f'[select.x]\nlevel = "study"\nwhere = """{where}"""\n'
    assert workplace.rules(BEGIN + table).run("check").code == 0
    other = '[select.x]\nlevel = "study"\nwhere = "StudyDescription = \'now\' and StudyDate > :since"\n'
    assert workplace.rules(BEGIN + other).run("check").code == 0


RECENT = """
[sources.archive]
path = "data"

[select.recent]
level = "study"
where = "StudyDate between strftime('%Y%m%d', :today, '-7 days') and strftime('%Y%m%d', :today)"

[copy.recent]
select = "recent"
to = "export/{{ StudyDate }}.dcm"
"""


@pytest.fixture
def days(workplace: Workplace, instance: Instance) -> Workplace:
    """An index with studies of the ten days before 2026-03-01, and of today."""
    dates = [*(DAY - timedelta(days=n) for n in range(10)), date.today()]
    for n, day in enumerate(dates):
        uids = {"StudyInstanceUID": f"1.2.{n}", "SeriesInstanceUID": f"1.3.{n}"}
        instance(f"data/{n}.dcm", StudyDate=day.strftime("%Y%m%d"), **uids)
    workplace.rules(RECENT).run("index")
    return workplace


@pytest.mark.parametrize(
    ("today", "number"), [("2026-03-01", 8), ("2026-02-20", 1), ("2026-02-19", 0), ("2026-03-05", 4), ("2026-03-08", 1)]
)
def test_today_of_the_command_line_selects(days: Workplace, today: str, number: int) -> None:
    assert days.run("plan", "--today", today, "--json").summary["todo"] == number
    assert days.run("query", "recent", "--today", today, "--json").summary["rows"] == number
    assert days.run("status", "--today", today, "--json").summary["due"] == number
    assert days.run("query", "select :today", "--today", today, "--format", "csv").out.split() == [":today", today]
    assert days.run("apply", "--today", today, "--json").summary["done"] == number


def test_today_defaults_to_the_date_of_the_machine(days: Workplace) -> None:
    assert days.run("plan", "--json").summary["todo"] == 1
    assert days.run("explain", "1.2.0", "--json").lines[0]["sets"] == []
    assert days.run("explain", "1.2.0", "--today", "2026-03-02", "--json").lines[0]["sets"] == ["recent"]


def test_a_saved_plan_keeps_its_day(days: Workplace) -> None:
    assert days.run("plan", "--today", "2026-03-01", "-o", "night.plan").code == 0
    assert days.run("apply", "--plan", "night.plan", "--today", "2026-03-02").code == 2
    done = days.run("apply", "--plan", "night.plan", "--json")
    assert (done.code, done.summary["done"]) == (0, 8)
    assert days.run("apply", "--plan", "night.plan").code == 5  # what it was to do is done


@pytest.mark.parametrize("today", ["yesterday", "20260301", "2026-02-30", "2026-3", "+7"])
def test_today_has_one_format(days: Workplace, today: str) -> None:
    done = days.run("plan", "--today", today)
    assert done.code == 2
    assert "--today" in done.err


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("StudyDate={{ vars.sinse }}", 'unknown variable "vars.sinse"'),
        ("StudyDate={{ since }}", '"since" has no value here'),
        ("StudyDate=2024-01-01", "StudyDate is not a valid DICOM date"),
        ("StudyDate=last week", "StudyDate is not a valid DICOM date"),
        ("PatientID={% if 1 %}", "the template cannot be read"),
    ],
)
def test_find_refuses_values_that_no_node_can_read(workplace: Workplace, pair: str, said: str) -> None:
    done = workplace.rules(BEGIN).run("find", "clinic", pair)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize("command", [("query",), ("export", "-o", "x.csv")])
def test_templates_do_not_work_in_sql_of_the_command_line(days: Workplace, command: tuple[str, ...]) -> None:
    done = days.run(command[0], "select * from studies where StudyDate > '{{ vars.since }}'", *command[1:])
    assert done.code == 2
    assert "templates do not work in SQL" in done.err
    assert ":since" in done.err
    assert not (Path(days.folder) / "x.csv").exists()
