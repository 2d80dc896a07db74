"""A kind is one module and one line in the list of kinds: the rest of the program does not change for it."""

import json
import signal
from functools import partial

import pytest

from pyconquest_rules.kinds import all as list_of_kinds
from tests.conftest import Instance, Workplace
from tests.kinds import running
from tests.kinds.touch import TouchKind

NUMBER = 5
program = partial(running.program, "from tests.kinds.touch import TouchKind; list_of_kinds.ACTIONS += (TouchKind(),)")
RULES = """
[sources.archive]
path = "data"

[select.scans]
level = "series"
where = "Modality = 'CT'"

[touch.notes]
select = "scans"
to = "notes/{{ SOPInstanceUID }}.txt"
tags = ["nightly"]

[copy.export]
select = "scans"
to = "export/{{ InstanceNumber }}.dcm"
needs = ["touch.notes"]
"""


@pytest.fixture
def touching(workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A workplace with instances, in a program that has the kind."""
    monkeypatch.setattr(list_of_kinds, "ACTIONS", (*list_of_kinds.ACTIONS, TouchKind()))
    for number in range(NUMBER):
        instance(f"data/{number}.dcm", InstanceNumber=number)
    return workplace.rules(RULES)


@pytest.mark.parametrize(
    ("before", "after", "place", "message"),
    [
        ('[touch.notes]\nselect = "scans"', '[touch.notes]\nselect = "scan"', "11:10", 'unknown set "scan"'),
        ("notes/{{ SOPInstanceUID }}", "notes/{{ SOPInstanceUd }}", "12:16", '"SOPInstanceUd" is neither a column'),
        ('to = "notes/', 'to = "/other/notes/', "12:7", "it must be below"),
        ('tags = ["nightly"]', 'tags = ["nightly"]\nneeds = ["copy.exprt"]', "14:10", 'unknown action "copy.exprt"'),
        ('tags = ["nightly"]', 'tags = ["nightly"]\nneeds = ["copy.export"]', "19:10", "copy.export → touch.notes"),
        ('tags = ["nightly"]', 'text = "SEEN"', "13:8", "a note must not shout"),
        ('tags = ["nightly"]', 'texts = "x"', "13:1", 'did you mean "text"?'),
        ('tags = ["nightly"]', 'text = "{{ PatientID }}"', "13:9", "to of [touch]"),
        ("[touch.notes]", "[touch.Notes]", "10:8", '"Notes" is not a valid name'),
        ("[touch.notes]", "[tuch.notes]", "10:2", 'did you mean "touch"?'),
    ],
)
def test_is_checked_with_places(touching: Workplace, before: str, after: str, place: str, message: str) -> None:
    assert before in RULES
    done = touching.rules(RULES.replace(before, after)).run("check")
    assert done.code == 2
    assert f"rules.toml:{place}: " in done.err, done.err
    assert message in done.err, done.err


def test_is_in_the_schema_and_in_the_help(touching: Workplace) -> None:
    schema = json.loads(touching.run("schema").out)
    assert schema["properties"]["touch"]["description"] == TouchKind.summary
    assert schema["$defs"]["Touch"]["required"] == ["select", "to"]
    for command in ("plan", "apply", "status", "verify"):
        assert '"touch"' in program(touching.folder, command, "--help").stdout


def test_is_planned_done_verified_and_shown(touching: Workplace) -> None:
    assert touching.run("check").code == 0
    planned = touching.run("plan", "--json").summary
    assert planned["actions"]["touch.notes"]["todo"] == NUMBER
    applied = touching.run("apply", "--json").summary
    assert (applied["done"], applied["touched"], applied["copied"]) == (2 * NUMBER, NUMBER, NUMBER)
    notes = touching.files("notes")
    assert len(notes) == NUMBER
    assert all(text.decode() == f"{name.removesuffix('.txt')} seen\n" for name, text in notes.items())
    assert touching.run("apply", "--json").summary["unchanged"] == 2 * NUMBER
    shown = touching.run("status", "--json").lines
    assert [line["done"] for line in shown if line.get("action") == "touch.notes"] == [NUMBER]
    assert touching.run("verify", "--deep", "touch", "--json").summary["ok"] == NUMBER
    (touching.folder / "notes" / sorted(notes)[0]).write_text("changed")
    assert touching.run("verify", "tag:nightly", "--json").summary["changed"] == 1


def test_another_rule_is_done_again(touching: Workplace) -> None:
    assert touching.run("apply", "touch").code == 0
    touching.rules(RULES.replace('tags = ["nightly"]', 'text = "read"'))
    assert touching.run("plan", "touch", "--json").summary["reasons"] == {"todo:rule-changed": NUMBER}
    assert touching.run("apply", "touch").code == 0
    assert all(text.endswith(b" read\n") for text in touching.files("notes").values())


@pytest.mark.parametrize(
    "kill", [("os", "replace", 3), ("Ledger", "intend_to_place", 2), ("Ledger", "record", 4), ("Runs", "finish", 1)]
)
def test_a_killed_run_is_gone_on_with(touching: Workplace, kill: tuple[str, str, int]) -> None:
    assert touching.run("index").code == 0
    assert program(touching.folder, "apply", "touch", "--no-index", kill=kill).returncode == -signal.SIGKILL
    placed = len([name for name in touching.files("notes") if name.endswith(".txt")])
    assert touching.run("plan", "touch", "--json").summary["todo"] == NUMBER - placed
    assert touching.run("apply", "touch", "--json").summary["done"] == NUMBER - placed
    assert len(touching.files("notes")) == NUMBER
    assert touching.run("verify", "--deep", "--json").summary["ok"] == NUMBER
    assert touching.run("plan", "touch", "--detailed-exitcode").code == 0
