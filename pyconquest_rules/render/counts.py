"""The counts of steps as text: of a run, and of a plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyconquest_rules.answers import size
from pyconquest_rules.engine.runner import COUNTS
from pyconquest_rules.render.steps import COLOURS, Line
from pyconquest_rules.steps import Status

if TYPE_CHECKING:
    from pyconquest_rules.engine.plan import Plan

OVER_THE_NETWORK = frozenset(("sent", "retrieved"))


def run_counts(counts: dict[str, int]) -> str:
    """Return the counts of a run: done (by outcome unless all were copied), the others that are not zero, and bytes."""
    outcomes = {name: number for name, number in counts.items() if name not in COUNTS and number}
    by_outcome = ", ".join(f"{name} {number:,}" for name, number in outcomes.items())
    done = f"done {counts['done']:,}" + (f" ({by_outcome})" if outcomes.keys() - {"copied"} else "")
    others = (f"{name} {counts[name]:,}" for name in COUNTS if name not in ("done", "bytes") and counts[name])
    moved = f"{size(counts['bytes'])} {'transferred' if outcomes.keys() & OVER_THE_NETWORK else 'written'}"
    return ", ".join([done, *others, moved])


def plan_lines(plan: Plan) -> Iterator[Line]:
    """Yield the lines of a plan's counts: each action, and below it each status with its reasons."""
    reasons = plan.reasons()
    for action, counts in plan.counts().items():
        if not (counts[Status.TODO] or counts[Status.BLOCKED]):
            why = f"{counts[Status.UNCHANGED]:,} unchanged" if counts[Status.UNCHANGED] else "nothing is selected"
            yield (action, "bold"), "  nothing to do", (f"  ({why})", "dim")
            continue
        yield ((action, "bold"),)
        for status in Status:
            why = ", ".join(
                f"{reason} {n:,}" for (name, is_, reason), n in sorted(reasons.items()) if (name, is_) == (action, status)
            )
            of_bytes = f", {size(counts['bytes'])}" if status is Status.TODO and counts["bytes"] else ""
            if counts[status]:
                yield ((f"  {status:<10} {counts[status]:>9,}  ({why}{of_bytes})", COLOURS[status]),)
    if not plan.actions():
        yield ("nothing to do  (nothing is selected: there is no action)",)
