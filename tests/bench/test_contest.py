"""Sides take turns; a line compares two of them and judges its targets; one that cannot take part is named."""

from collections.abc import Callable

import pytest

from bench import contest
from bench.contest import AtLeast, AtMost, By, Compared, Contest, Line, Memory, Side, Target, Within
from bench.measure import Failed, Sample
from bench.table import as_markdown, as_text


def takes(seconds: float) -> Callable[[], Sample]:
    return lambda: Sample(seconds, seconds / 2, 50_000_000)


def fails() -> Sample:
    raise Failed("rsync: exit code 23\nno space left")


def compared(line: Line, **sides: Side) -> Compared:
    (found,) = contest.run(Contest(sides, [line]))
    return found


def test_sides_take_turns() -> None:
    told: list[str] = []

    def side(name: str) -> Side:
        def run() -> Sample:
            told.append(name)
            return Sample(1.0, 1.0, 0)

        return Side(run)

    list(contest.run(Contest({"ours": side("ours"), "peer": side("peer")}, [], runs=2)))
    assert told == ["ours", "peer", "ours", "peer"]


@pytest.mark.parametrize(
    ("longer", "ratio", "met", "not_met"),
    [(False, 4.0, AtLeast(4.0), AtLeast(4.1)), (True, 0.5, AtMost(0.5), AtMost(0.4))],
)
def test_a_ratio_is_of_speeds_or_of_times(longer: bool, ratio: float, met: Target, not_met: Target) -> None:
    line = Line("copy", "ours", "peer", By.WALL, longer=longer)
    found = compared(line, ours=Side(takes(1.0), 20), peer=Side(takes(2.0), 10))
    assert found.ratio == ratio
    assert (found.met(met), found.met(not_met)) == (True, False)


def test_limits_are_of_ours() -> None:
    found = compared(Line("plan", "ours", by=By.WALL), ours=Side(takes(1.0)))
    assert [found.met(target) for target in (Within(1.0), Within(0.9), Memory(50), Memory(49))] == [True, False, True, False]
    assert found.ratio is None


@pytest.mark.parametrize(
    ("peer", "named"),
    [
        (Side(takes(1.0), absent="rsync is missing: install it"), "rsync is missing: install it"),
        (Side(fails), "failed: rsync: exit code 23"),
    ],
)
def test_a_peer_that_cannot_take_part_is_named_and_ours_has_its_figures(peer: Side, named: str) -> None:
    found = compared(Line("copy", "ours", "peer", By.WALL, (AtLeast(2),)), ours=Side(takes(0.5), 100), peer=peer)
    assert found.met(AtLeast(2)) is None
    for table in (as_text([found]), as_markdown([found])):
        assert named in table
        assert "200 / -" in table
        assert "?" in table
