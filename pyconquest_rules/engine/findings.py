"""The exit code of a plan, a run or a verification: one function derives it from steps and findings."""

from collections.abc import Iterable, Mapping

from pyconquest_rules.answers import Asserted, Finding, Refusals
from pyconquest_rules.errors import Interrupted

FAILED, PENDING, ASSERTION_FAILED = 1, 3, 4

FAILING = ("failed", "blocked", "missing", "changed", "extra", "outside")
"""The words for steps and destinations that somebody must deal with."""


def exit_code(
    counts: Mapping[str, int],
    findings: Iterable[Finding | Refusals | Asserted] = (),
    *,
    pending: bool = False,
    interrupted: bool = False,
) -> int:
    """Return the exit code. `counts` are those of steps by status, or of destinations by finding.

    `pending`: steps that are todo have an exit code of their own. `interrupted`: somebody stopped the run.
    A failed assertion wins over blocked steps and other findings, but not over a step that failed in a run.
    """
    if interrupted:
        return Interrupted.exit_code
    findings = [*findings]
    if not counts.get("failed") and any(isinstance(each, Asserted) and each.failed for each in findings):
        return ASSERTION_FAILED
    if any(counts.get(what) for what in FAILING) or any(map(_fails, findings)):
        return FAILED
    return PENDING if pending and counts.get("todo") else 0


def _fails(finding: Finding | Refusals | Asserted) -> bool:
    """Return whether somebody must deal with a finding. The rules may accept refused files."""
    match finding:
        case Refusals():
            return bool(finding)
        case Asserted():
            return finding.failed
    return True
