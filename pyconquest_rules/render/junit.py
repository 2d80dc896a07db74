"""`plan --format junit`: a test case for each action, as CI servers read it. Blocked steps are failures. It has counts only."""

import sys
from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement, tostring

from pyconquest_rules.answers import NoRoom, Refusals
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.render.console import Console
from pyconquest_rules.steps import Status

Case = tuple[str, str, str, str]
"""The class, the name, the type of a failure and its message; both are "" if the case passed."""


class JUnit(Console):
    """The console, with the plan as JUnit XML on standard output."""

    def __init__(self) -> None:
        super().__init__()
        self._refused: dict[str, int] = {}

    def refused(self, refusals: Refusals) -> None:
        """Print the files that are not indexed on standard error, and keep their number for the plan."""
        super().refused(refusals)
        self._refused = refusals.standing

    def planned(self, plan: Plan, *, steps: bool) -> None:
        """Print the plan on standard output, and the paths in its findings on standard error."""
        cases = [*self._cases(plan)]
        attributes = {"name": "plan", "package": "pyconquest-rules", "id": "0", "hostname": "localhost", "time": "0"}
        attributes["timestamp"] = f"{plan.day.isoformat()}T00:00:00"
        attributes |= {"tests": str(len(cases)), "failures": str(sum(bool(why) for *_, why in cases)), "errors": "0"}
        suites = Element("testsuites")
        suite = SubElement(suites, "testsuite", attributes)
        SubElement(suite, "properties")
        for of, name, what, why in cases:
            case = SubElement(suite, "testcase", {"classname": of, "name": name, "time": "0"})
            if why:
                SubElement(case, "failure", {"type": what, "message": why}).text = why
        SubElement(suite, "system-out")
        SubElement(suite, "system-err")
        sys.stdout.write(f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(suites, encoding="unicode")}\n')
        self.findings(plan.findings)

    def _cases(self, plan: Plan) -> Iterator[Case]:
        why = ", ".join(f"{reason} {number:,}" for reason, number in self._refused.items())
        yield "index", "every DICOM file is indexed", "rejected" if why else "", f"not indexed: {why}" if why else ""
        full = any(isinstance(finding, NoRoom) for finding in plan.findings)
        gone = any(not isinstance(finding, NoRoom) for finding in plan.findings)
        yield "outputs", "there is enough free space", "space" if full else "", "there is too little free space" if full else ""
        yield "outputs", "no output lost most of its files", "vanished" if gone else "", "most files are gone" if gone else ""
        reasons = sorted(plan.reasons().items())
        for action in plan.actions():
            blocked = {reason: number for (name, status, reason), number in reasons if (name, status) == (action, Status.BLOCKED)}
            why = ", ".join(f"{reason} {number:,}" for reason, number in blocked.items())
            yield action.partition(".")[0], action, "blocked" if why else "", f"blocked: {why}" if why else ""
