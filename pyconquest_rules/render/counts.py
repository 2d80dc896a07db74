"""The counts of steps as text: of a run, and of a plan."""

from collections.abc import Iterator

from pyconquest_rules.answers import size
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.runner import KINDS
from pyconquest_rules.render.steps import COLOURS, Line
from pyconquest_rules.steps import Status


def run_counts(counts: dict[str, int]) -> str:
    """Return the counts of a run: done (by kind unless all were copied), the others that are not zero, and bytes."""
    kinds = {kind: counts[kind] for kind in KINDS if counts[kind]}
    of_kinds = ", ".join(f"{kind} {number:,}" for kind, number in kinds.items())
    done = f"done {counts['done']:,}" + (f" ({of_kinds})" if kinds.keys() - {"copied"} else "")
    others = (name for name in counts if name not in ("done", "bytes", *KINDS) and counts[name])
    over_the_network = counts["sent"] + counts["retrieved"]
    moved = f"{size(counts['bytes'])} {'transferred' if over_the_network else 'written'}"
    return ", ".join([done, *(f"{name} {counts[name]:,}" for name in others), moved])


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
