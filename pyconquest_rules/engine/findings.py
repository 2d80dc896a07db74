"""The exit code of a plan, a run or a verification: one function derives it from steps and findings."""

from collections.abc import Iterable, Mapping

from pyconquest_rules.answers import Finding, Incomplete, Refusals
from pyconquest_rules.errors import Interrupted

FAILED, PENDING = 1, 3

FAILING = ("failed", "blocked", "missing", "changed", "extra", "outside")
"""The words for steps and destinations that somebody must deal with."""


def exit_code(
    counts: Mapping[str, int],
    findings: Iterable[Finding | Refusals] = (),
    *,
    pending: bool = False,
    interrupted: bool = False,
) -> int:
    """Return the exit code. `counts` are those of steps by status, or of destinations by finding.

    `pending`: steps that are todo have an exit code of their own. `interrupted`: somebody stopped the run.
    """
    if interrupted:
        return Interrupted.exit_code
    if any(counts.get(what) for what in FAILING) or any(map(_fails, findings)):
        return FAILED
    return PENDING if pending and counts.get("todo") else 0


def _fails(finding: Finding | Refusals) -> bool:
    """Return whether somebody must deal with a finding. The rules may accept refused files."""
    match finding:
        case Refusals():
            return bool(finding)
        case Incomplete():
            return finding.blocks
    return True
