"""Plan the copies of many instances. A generator fills the index; either no step is done yet, or all are."""

from collections.abc import Iterator
from functools import partial

from bench import ours
from bench.contest import AtMost, By, Contest, Line, Memory, Side, Within
from bench.measure import Sample
from bench.workplace import REPOSITORY, Workplace, python

TARGETS = (Within(45), Memory(300))


def contests(place: Workplace) -> Iterator[Contest]:
    """Yield the contest: complete commands. The index is not updated, because there are no files."""
    few, many, most = (f"{number:,} new" for number in place.sizes.plans)
    done = many.replace("new", "done")
    sides = {
        name: Side(partial(plan, place, number), number)
        for name, number in zip((few, many, most), place.sizes.plans, strict=True)
    }
    number = place.sizes.plans[1]
    sides[done] = Side(partial(plan, place, number, done=True), number)
    lines = [
        Line(f"plan, {few}", few, by=By.WALL),
        Line(f"plan, {many}", many, few, By.WALL, TARGETS, longer=True),
        Line(f"plan, {done}", done, many, By.WALL, TARGETS, longer=True),
        Line(f"plan, {most}", most, many, By.WALL, (AtMost(2.2),), longer=True),
    ]
    yield Contest(sides, lines, runs=3)


def plan(place: Workplace, number: int, *, done: bool = False) -> Sample:
    """Measure one plan of so many instances."""
    options = ["--done"] * done
    generator = REPOSITORY / "bench" / "fill_index.py"
    name = "".join([f"plan-{number}", *options])
    folder = place.made(name, lambda folder: python(generator, folder, number, *options))
    todo, unchanged = (0, number) if done else (number, 0)
    return ours.run("plan", "--no-index", cwd=folder, todo=todo, unchanged=unchanged, blocked=0)
