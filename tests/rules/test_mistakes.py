"""Every kind of error in a rules file, and what `check` prints for it: bad/NAME.toml and bad/NAME.txt."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import tomli

from pyconquest_rules.app.loading import Rules
from pyconquest_rules.errors import RulesError
from tests.conftest import Workplace
from tests.rules.bad_files import BAD, said
from tests.rules.everything import EVERYTHING


@pytest.mark.parametrize("rules", sorted(BAD.glob("*.toml")), ids=lambda rules: rules.stem)
def test_messages_are_as_recorded(rules: Path) -> None:
    assert said(rules) == rules.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("rules", sorted(BAD.glob("*.toml")), ids=lambda rules: rules.stem)
def test_errors_are_sorted_and_reported_once(rules: Path) -> None:
    places = re.findall(r"^(?:error: )?([\w.]+):(\d+):(\d+): (.*)", said(rules), re.MULTILINE)
    assert places
    in_order = [(file, int(line), int(column), message) for file, line, column, message in places]
    assert in_order == sorted(set(in_order))


def test_ten_errors_are_reported_together() -> None:
    assert len(re.findall(r"^ +\| +\^+$", said(BAD / "ten_mistakes.toml"), re.MULTILINE)) == 10


def test_check_writes_nothing() -> None:
    before = sorted(BAD.iterdir())
    said(BAD / "ten_mistakes.toml")
    assert sorted(BAD.iterdir()) == before


JUNK: tuple[Any, ...] = (
    *(5, True, 1.5, "", "x", "é" * 70, "\x7f", [], {}, [1], ["a"], [[1]], [{}], {"a": 1}, [{"column": "X"}]),
    *({"env": "NOPE"}, {"env": 5}, {"default": "x"}, "{{ x }}", "{% if %}", "../..", "copy", "copy.people", "a[0]", "["),
    *("select 1", "select * from images", "images", "rules_files", "sqlite_x", "with", "(", ")", "?", ";", "'", "-- x", "/*"),
)
NAMES = ("x", "Foo", "a b", "env", "where", "path", "to", "column", "images", "series", "sqlite_y", "select")

COHORT = """
[tables.cohort]
csv = "cohort.csv"
key = ["PatientID"]
columns = { years = "age" }
types = { age = "integer" }
"""

CLINIC = """
[sources.third]
path = "third"
layout = "{{ SOPInstanceUID }}.dcm"

[nodes.clinic]
ae_title = "CLINIC"
host = "127.0.0.1"
port = 104

[listen.inbox]
ae_title = "RULES"
port = 11112
into = "third"
then = ["retrieve.plans"]

[retrieve.plans]
node = "clinic"
level = "series"
match = { Modality = "RTPLAN", StudyDate = "20240101-" }
into = "third"
by = "move"
listener = "inbox"
tags = ["nightly"]
"""


def paths(at: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of a document."""
    for key, value in at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ():
        yield (*path, key)
        yield from paths(value, (*path, key))


def toml(value: Any) -> str:
    """Return a value as TOML, with tables on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {toml(inside)}" for key, inside in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@pytest.mark.parametrize("seed", range(60))
def test_any_invalid_document_is_a_rules_error(workplace: Workplace, seed: int) -> None:
    random, document = Random(seed), tomli.loads(EVERYTHING + COHORT + CLINIC)
    for _ in range(random.choice((1, 2, 3, 5))):
        *way, last = random.choice([*paths(document)])
        at: Any = document
        for key in way:
            at = at[key]
        match random.choice(("other", "gone", "renamed")):
            case "renamed" if isinstance(at, dict):
                at[random.choice(NAMES)] = at.pop(last)
            case "gone":
                del at[last]
            case _:
                at[last] = random.choice(JUNK)
    (workplace.folder / "cohort.csv").write_text("PatientID,years\n", encoding="utf-8")
    workplace.rules("\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in document.items()))
    # Any other exception is a bug.
    with suppress(RulesError):
        Rules.load(workplace.folder / "rules.toml", environment={})
