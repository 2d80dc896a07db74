"""`plan --format junit`: a test case for each expectation and each action, as CI servers read it. It has counts only.

Failed expectations and blocked steps are failures. Warnings are on the standard output of the suite.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement, tostring

from pyconquest_rules.answers import NoRoom
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.render.plan_form import PlanForm
from pyconquest_rules.steps import Status

Case = tuple[str, str, str, str]
"""The class, the name, the type of a failure and its message; both are "" if the case passed."""


class JUnit(PlanForm):
    """The plan as JUnit XML."""

    def text(self, plan: Plan) -> str:
        """Return a test suite."""
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
        warnings = [f"warning: {each.message}\n" for each in plan.asserted if each.exceeded and not each.severe]
        SubElement(suite, "system-out").text = "".join(warnings)
        SubElement(suite, "system-err")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(suites, encoding="unicode")}\n'

    def _cases(self, plan: Plan) -> Iterator[Case]:
        why = ", ".join(f"{reason} {number:,}" for reason, number in self.not_indexed.items())
        yield "index", "every DICOM file is indexed", "rejected" if why else "", f"not indexed: {why}" if why else ""
        full = any(isinstance(finding, NoRoom) for finding in plan.findings)
        gone = any(not isinstance(finding, NoRoom) for finding in plan.findings)
        yield "outputs", "there is enough free space", "space" if full else "", "there is too little free space" if full else ""
        yield "outputs", "no output lost most of its files", "vanished" if gone else "", "most files are gone" if gone else ""
        if plan.differs is not None:
            differs = "the plan differs from the lock of a release" if plan.differs else ""
            yield "release", "the plan is what was locked", "lock" if differs else "", differs
        for each in plan.asserted:
            why = each.message if each.failed else ""
            yield each.name.partition(".")[0], each.name, "expectation" if why else "", why
        reasons = sorted(plan.reasons().items())
        for action in plan.actions():
            blocked = {reason: number for (name, status, reason), number in reasons if (name, status) == (action, Status.BLOCKED)}
            why = ", ".join(f"{reason} {number:,}" for reason, number in blocked.items())
            yield action.partition(".")[0], action, "blocked" if why else "", f"blocked: {why}" if why else ""
