"""Every kind of mistake in a rules file, and what `check` says of it: bad/NAME.toml and bad/NAME.txt."""

import re
from pathlib import Path

import pytest

from tests.conftest import Workplace

BAD = Path(__file__).parent / "bad"


def said(rules: Path) -> str:
    """What `check` says, run in the folder of the rules file."""
    done = Workplace(rules.parent).run("-f", rules.name, "check")
    assert (done.code, done.out) == (2, "")
    return done.err


@pytest.mark.parametrize("rules", sorted(BAD.glob("*.toml")), ids=lambda rules: rules.stem)
def test_says_where_what_and_the_way_out(rules: Path) -> None:
    assert said(rules) == rules.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("rules", sorted(BAD.glob("*.toml")), ids=lambda rules: rules.stem)
def test_mistakes_are_sorted_and_said_once(rules: Path) -> None:
    places = re.findall(r"^(?:error: )?([\w.]+):(\d+):(\d+): (.*)", said(rules), re.MULTILINE)
    assert places
    in_order = [(file, int(line), int(column), message) for file, line, column, message in places]
    assert in_order == sorted(set(in_order))


def test_ten_mistakes_are_ten_errors() -> None:
    assert len(re.findall(r"^ +\| +\^+$", said(BAD / "ten_mistakes.toml"), re.MULTILINE)) == 10


def test_leaves_nothing_behind() -> None:
    before = sorted(BAD.iterdir())
    said(BAD / "ten_mistakes.toml")
    assert sorted(BAD.iterdir()) == before
