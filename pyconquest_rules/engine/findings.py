"""The exit code of a plan, of a run and of a look at the outputs: one function makes it of steps and findings."""

from collections.abc import Iterable, Mapping

from pyconquest_rules.answers import Finding, Refusals
from pyconquest_rules.errors import Interrupted

FAILED, PENDING = 1, 3

FAILING = ("failed", "blocked", "missing", "changed", "extra", "outside")
"""What no step, and no destination, may be."""


def exit_code(
    counts: Mapping[str, int],
    findings: Iterable[Finding | Refusals] = (),
    *,
    pending: bool = False,
    interrupted: bool = False,
) -> int:
    """Return the exit code. `counts` are of steps or destinations, by what they are.

    `pending`: that steps are to be done has a code of its own. `interrupted`: the run was ended before its end.
    """
    if interrupted:
        return Interrupted.exit_code
    if any(counts.get(what) for what in FAILING) or any(map(_fails, findings)):
        return FAILED
    return PENDING if pending and counts.get("todo") else 0


def _fails(finding: Finding | Refusals) -> bool:
    """Whether somebody must deal with a finding: refused files may be accepted by the rules."""
    match finding:
        case Refusals():
            return bool(finding)
    return True
