"""`plan --format markdown`: a comment for a pull request. It has counts only: no UID, no path, and nothing of a patient."""

import sys
from collections.abc import Iterator

from pyconquest_rules.answers import NoRoom, Refusals, size
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.render.console import Console
from pyconquest_rules.steps import Status


class Markdown(Console):
    """The console, with the plan as Markdown on standard output."""

    def __init__(self) -> None:
        super().__init__()
        self._refused: dict[str, int] = {}

    def refused(self, refusals: Refusals) -> None:
        """Print the files that are not indexed on standard error, and keep their number for the plan."""
        super().refused(refusals)
        self._refused = refusals.standing

    def planned(self, plan: Plan, *, steps: bool) -> None:
        """Print the plan on standard output, and the paths in its findings on standard error."""
        sys.stdout.writelines(f"{line}\n" for line in self._lines(plan))
        self.findings(plan.findings)

    def _lines(self, plan: Plan) -> Iterator[str]:
        counts, reasons = plan.counts(), plan.reasons()
        number = plan.statuses()
        todo, blocked, unchanged = (number[status] for status in (Status.TODO, Status.BLOCKED, Status.UNCHANGED))
        yield f"### Plan: {todo:,} to do, {blocked:,} blocked, {unchanged:,} unchanged"
        yield ""
        if self._refused:
            why = ", ".join(f"{reason} {n:,}" for reason, n in self._refused.items())
            yield f"- **{sum(self._refused.values()):,} DICOM files are not in the index**: {why}"
        for finding in plan.findings:
            yield (
                "- **"
                + ("There is too little free space" if isinstance(finding, NoRoom) else "Most files of an output are gone")
                + "**"
            )
        if self._refused or plan.findings:
            yield ""
        yield "| action | status | reason | steps |"
        yield "|---|---|---|---:|"
        for action, of in counts.items():
            for status in Status:
                for (name, is_, reason), steps in sorted(reasons.items()):
                    if (name, is_) == (action, status):
                        shown = f"**{status}**" if status is Status.BLOCKED else status
                        yield f"| `{action}` | {shown} | {reason} | {steps:,} |"
            if not any(of[status] for status in Status):
                yield f"| `{action}` | nothing is selected | | 0 |"
        yield ""
        yield f"{size(sum(of['bytes'] for of in counts.values()))} to write, send or retrieve."
