"""`plan --format markdown`: a comment for a pull request. It has counts only: no UID, no path, and nothing of a patient."""

from collections.abc import Iterator

from pyconquest_rules.answers import NoRoom, size
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.render.plan_form import PlanForm
from pyconquest_rules.steps import Status


class Markdown(PlanForm):
    """The plan as Markdown."""

    def text(self, plan: Plan) -> str:
        """Return a comment."""
        return "".join(f"{line}\n" for line in self._lines(plan))

    def _lines(self, plan: Plan) -> Iterator[str]:
        counts, reasons = plan.counts(), plan.reasons()
        number = plan.statuses()
        todo, blocked, unchanged = (number[status] for status in (Status.TODO, Status.BLOCKED, Status.UNCHANGED))
        yield f"### Plan: {todo:,} to do, {blocked:,} blocked, {unchanged:,} unchanged"
        yield ""
        notes = [*self._notes(plan)]
        yield from notes
        if notes:
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

    def _notes(self, plan: Plan) -> Iterator[str]:
        """Yield an item of a list for each problem of the plan as a whole."""
        if self.not_indexed:
            why = ", ".join(f"{reason} {n:,}" for reason, n in self.not_indexed.items())
            yield f"- **{sum(self.not_indexed.values()):,} DICOM files are not in the index**: {why}"
        if plan.differs:
            yield "- **The plan differs from the lock of a release**"
        for finding in plan.findings:
            what = "There is too little free space" if isinstance(finding, NoRoom) else "Most files of an output are gone"
            yield f"- **{what}**"
        for result in plan.asserted:
            if result.exceeded:
                yield f"- **failed**: {result.message}" if result.failed else f"- warning: {result.message}"
