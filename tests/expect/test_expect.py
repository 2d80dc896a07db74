"""`[expect.NAME]` from the rules to the exit code: checked, evaluated, shown, and holding back what it blocks."""

import csv

import pytest

from tests.conftest import Instance, Workplace

RULES = """
[sources.archive]
path = "data"

[vars]
most = "2"

[select.scans]
level = "series"
query = "select SeriesInstanceUID, PatientID from series where Modality = 'CT'"

[copy.export]
select = "scans"
to = "export/{{ SOPInstanceUID }}.dcm"

[copy.again]
select = "scans"
to = "again/{{ SOPInstanceUID }}.dcm"
needs = ["copy.export"]

[copy.other]
select = "scans"
to = "other/{{ SOPInstanceUID }}.dcm"
tags = ["nightly"]

[expect.short]
query = '''
select SOPInstanceUID, i.PatientID from images as i join scans using (SeriesInstanceUID)
where InstanceNumber + 0 > cast(:most as int)'''
blocks = ["copy.export"]
"""
SECRET = "P-SECRET"


@pytest.fixture
def expecting(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with four instances, of which two should not be there."""
    for number in range(1, 5):
        instance(f"data/{number}.dcm", InstanceNumber=number, PatientID=SECRET)
    return workplace.rules(RULES)


def test_holds_back_exactly_what_it_blocks(expecting: Workplace) -> None:
    assert expecting.run("check").code == 0
    planned = expecting.run("plan", "--json")
    assert planned.code == 4
    assert planned.summary["reasons"] == {"blocked:expectation": 4, "blocked:needs": 4, "todo:new": 4}
    assert planned.summary["expectations"] == {"expect.short": {"rows": 2, "exceeded": True, "failed": True}}
    applied = expecting.run("apply", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["blocked"]) == (4, 4, 8)
    assert applied.summary["expectations"] == planned.summary["expectations"]
    assert {name.partition("/")[0] for name in expecting.files() if name.endswith(".dcm")} == {"data", "other"}


def test_the_next_run_does_the_rest_once_the_data_is_right(expecting: Workplace) -> None:
    assert expecting.run("apply").code == 4
    for number in (3, 4):
        (expecting.folder / f"data/{number}.dcm").unlink()
    applied = expecting.run("apply", "--allow-vanish", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["unchanged"]) == (0, 4, 2)
    assert expecting.run("status").code == 0


def test_blocks_every_action_unless_it_names_some(expecting: Workplace) -> None:
    expecting.rules(RULES.replace('blocks = ["copy.export"]', ""))
    assert expecting.run("apply", "--json").summary["blocked"] == 12
    expecting.rules(RULES.replace('blocks = ["copy.export"]', "blocks = []"))
    applied = expecting.run("apply", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["blocked"]) == (4, 12, 0)


@pytest.mark.parametrize("key", ['severity = "warn"', "max_rows = 2"])
def test_a_warning_and_allowed_rows_hold_nothing_back(expecting: Workplace, key: str) -> None:
    expecting.rules(f"{RULES}{key}\n")
    applied = expecting.run("apply", "--json")
    assert (applied.code, applied.summary["done"]) == (0, 12)
    assert applied.summary["expectations"]["expect.short"] == {"rows": 2, "exceeded": "warn" in key, "failed": False}


def test_is_evaluated_only_for_actions_that_it_blocks(expecting: Workplace) -> None:
    planned = expecting.run("plan", "tag:nightly", "--json")
    assert (planned.code, planned.summary["expectations"]) == (0, {})
    assert expecting.run("plan", "copy.again", "--json").code == 4, "it needs copy.export"


def test_a_failed_step_has_exit_code_1(expecting: Workplace) -> None:
    expecting.run("index")
    (expecting.folder / "data/1.dcm").unlink()
    applied = expecting.run("apply", "--no-index", "--json")
    assert (applied.code, applied.summary["failed"]) == (1, 1)


def test_shows_counts_and_rows_only_on_request(expecting: Workplace) -> None:
    expecting.run("index")
    for command in ("plan", "status", "apply"):
        done = expecting.run(command)
        assert done.code == 4
        assert "failed: expect.short has 2 rows that should not be there" in done.out
        assert "all rows: query expect.short" in done.out
        assert SECRET not in done.out + done.err, command
    assert SECRET in expecting.run("plan", "--list").out
    quiet = expecting.run("plan", "--quiet")
    assert "expect.short has 2 rows" in quiet.err
    assert SECRET not in quiet.err


def test_is_an_event_of_json(expecting: Workplace) -> None:
    expecting.run("index")
    for command in (["plan"], ["plan", "--list"], ["status"], ["apply"]):
        (event,) = [line for line in expecting.run(*command, "--json").lines if line["event"] == "expectation"]
        assert (event["name"], event["rows"], event["severity"], event["blocks"]) == ("expect.short", 2, "error", ["copy.export"])
        assert [row["PatientID"] for row in event.get("first", ())] == ([SECRET] * 2 if "--list" in command else [])


def test_query_and_export_return_all_rows(expecting: Workplace) -> None:
    expecting.run("index")
    queried = expecting.run("query", "expect.short", "--json")
    assert queried.summary["rows"] == 2
    assert expecting.run("export", "expect.short", "-o", "rows.csv").code == 0
    with open(expecting.folder / "rows.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert rows == [line["values"] for line in queried.lines[:-1]]
    unknown = expecting.run("query", "expect.shrt")
    assert unknown.code == 2
    assert 'did you mean "expect.short"?' in unknown.err


def test_a_saved_plan_is_stale_if_an_expectation_fails_now(expecting: Workplace) -> None:
    assert expecting.run("plan", "-o", "saved.plan").code == 4
    assert expecting.run("apply", "--plan", "saved.plan", "--json").code == 4
    expecting.rules(RULES.replace("cast(:most as int)", "9"))
    assert expecting.run("apply", "--plan", "saved.plan").code == 5


@pytest.mark.parametrize(
    ("before", "after", "word", "message"),
    [
        ("from images", "from imags", "imags", 'did you mean "images"?'),
        ("InstanceNumber + 0", "InstanceNumbr + 0", "InstanceNumbr", '"InstanceNumbr"'),
        (":most", ":mst", ":mst", ":mst"),
        (":most", "{{ vars.most }}", "{{ vars.most", "vars.most"),
        ('blocks = ["copy.export"]', 'blocks = ["copy.exprt"]', '"copy.exprt', 'unknown action "copy.exprt"'),
        ('blocks = ["copy.export"]', 'blocks = ["expect.short"]', '"expect.short', 'unknown action "expect.short"'),
        ("blocks =", "block =", "block =", 'did you mean "blocks"?'),
        ("select SOPInstanceUID, i.PatientID", "delete", "delete", "SELECT"),
        ("[expect.short]", "[expct.short]", "expct", 'did you mean "expect"?'),
    ],
)
def test_is_checked_with_places(expecting: Workplace, before: str, after: str, word: str, message: str) -> None:
    assert before in RULES
    done = expecting.rules(text := RULES.replace(before, after)).run("check")
    above = text[: text.index(word)]
    assert done.code == 2
    assert f"rules.toml:{above.count(chr(10)) + 2}:{len(above) - above.rindex(chr(10))}: " in done.err, done.err
    assert message in done.err, done.err


def test_a_query_that_fails_on_the_data_names_its_expectation(expecting: Workplace) -> None:
    expecting.rules(RULES.replace("InstanceNumber + 0 > cast(:most as int)", "abs(-9223372036854775807 - InstanceNumber) > 0"))
    done = expecting.run("plan")
    assert (done.code, SECRET in done.err) == (2, False)
    assert "expect.short" in done.err


def test_an_error_of_a_set_is_reported_once(expecting: Workplace) -> None:
    done = expecting.rules(RULES.replace("PatientID from series", "PatientIDs from series")).run("check")
    assert done.code == 2
    assert done.err.count("rules.toml:") == 1, done.err
