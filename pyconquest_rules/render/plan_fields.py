"""The counts and the findings of a plan as JSON fields."""

from collections import Counter
from dataclasses import asdict

from pyconquest_rules.answers import Finding, Vanished
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.render.asserted import asserted_totals


def plan_totals(plan: Plan) -> dict[str, object]:
    """Return the counts of a plan, its findings and the results of expectations, for a summary."""
    reasons = {f"{status}:{reason}": number for (status, reason), number in _by_reason(plan).items()}
    findings = [against(finding) for finding in plan.findings]
    expected = {"findings": findings, "expectations": asserted_totals(plan.asserted)}
    return {**plan.statuses(), "actions": plan.counts(), "reasons": reasons, "contradictions": plan.brought_along(), **expected}


def against(finding: Finding) -> dict[str, object]:
    """Return a finding about a plan as JSON fields."""
    what = "vanished" if isinstance(finding, Vanished) else "no-room"
    return {"finding": what, **asdict(finding), "message": finding.message}


def _by_reason(plan: Plan) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for (_, status, reason), number in plan.reasons().items():
        counts[status, reason] += number
    return counts
