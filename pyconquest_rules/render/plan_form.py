"""A plan in a form for other programs, with counts only: no UID, no path, and nothing of a patient."""

import sys
from abc import abstractmethod

from pyconquest_rules.answers import Refusals
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.render.console import Console


class PlanForm(Console):
    """The console, with the plan in another form on standard output."""

    def __init__(self) -> None:
        super().__init__()
        self.not_indexed: dict[str, int] = {}

    @abstractmethod
    def text(self, plan: Plan) -> str:
        """Return the plan in this form."""

    def refused(self, refusals: Refusals) -> None:
        """Print the files that are not indexed on standard error, and keep their number for the plan."""
        super().refused(refusals)
        self.not_indexed = refusals.standing

    def planned(self, plan: Plan, *, steps: bool) -> None:
        """Print the plan on standard output, and the paths in its findings on standard error."""
        sys.stdout.write(self.text(plan))
        self.findings(plan.findings)
