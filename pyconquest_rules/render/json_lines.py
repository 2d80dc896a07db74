"""One JSON object per line on standard output; the last one is the summary."""

from __future__ import annotations

import base64
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pyconquest_rules.answers import (
    ActionStatus,
    Asserted,
    Explained,
    ExplainedStep,
    Forgotten,
    Going,
    Indexed,
    Refusals,
)
from pyconquest_rules.answers import Finding as Against
from pyconquest_rules.engine.verified import Finding, Verified
from pyconquest_rules.events import (
    BroughtAlong,
    Emit,
    Event,
    Healthy,
    InstanceNoted,
    InstanceRefused,
    Listens,
    LittleRoom,
    Noted,
    PeerRefused,
    Ran,
    SourceNoted,
    StepDone,
    StepFailed,
    StepsWait,
    ThenWaits,
)
from pyconquest_rules.render.asserted import asserted_fields, asserted_totals
from pyconquest_rules.render.plan_fields import against, plan_totals
from pyconquest_rules.steps import RetrieveInstance, Status, Step

if TYPE_CHECKING:
    from pyconquest_rules.engine.overview import Group
    from pyconquest_rules.engine.plan import Plan
    from pyconquest_rules.engine.runner import Result
    from pyconquest_rules.engine.runs import Run
    from pyconquest_rules.index.query.sql import Row


class JsonLines:
    """The renderer of `--json`."""

    @contextmanager
    def progress(self) -> Iterator[Emit]:
        """Write a line for each failed step."""
        yield _failures

    def written(self, file: Path, next_step: str) -> None:
        """Write the summary."""
        write("summary", file=str(file))

    def checked(self, counts: dict[str, int], commands: Mapping[str, tuple[str, ...]]) -> None:
        """Write the summary."""
        write("summary", **counts, commands=commands)

    def indexed(self, result: Indexed) -> None:
        """Write the summary, with the reasons of rejected and skipped files and the notes of indexed files."""
        found = {"reasons": result.reasons, "notes": result.notes, "contradictions": result.contradictions}
        write("summary", **result.counts, **found, refused=result.refusals.standing, accepted=result.refusals.accepted)

    def refused(self, refusals: Refusals) -> None:
        """Write a line with the reasons."""
        if refusals.standing or refusals.accepted:
            number = sum(refusals.standing.values())
            write("refused", files=number, reasons=refusals.standing, accepted=refusals.accepted)

    def planned(self, plan: Plan, *, steps: bool) -> None:
        """Write a line for each step that is not unchanged, if requested; then the summary."""
        for step in plan.steps() if steps else ():
            if step.status is not Status.UNCHANGED:
                write("step", **step_fields(step))
        self.asserted(plan.asserted, listed=steps)
        write("summary", **plan_totals(plan))

    def asserted(self, results: Sequence[Asserted], *, listed: bool = False) -> None:
        """Write a line for each, with its first rows if listed."""
        for result in results:
            write("expectation", **asserted_fields(result, rows=listed))

    def blocked(self, groups: Sequence[Group]) -> None:
        """Write nothing: the summary counts them, and `plan --list` has each."""

    def findings(self, findings: Iterable[Against]) -> None:
        """Write a line for each."""
        for finding in findings:
            write("warning", **against(finding))

    def applied(self, result: Result) -> None:
        """Write the summary."""
        self.asserted(result.asserted)
        expectations = asserted_totals(result.asserted)
        write("summary", **result.counts, run=result.run, interrupted=result.interrupted, expectations=expectations)

    def rows(self, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
        """Write a line for each row, by column."""
        count = 0
        for row in rows:
            write("row", values=dict(zip(columns, row, strict=True)))
            count += 1
        write("summary", rows=count)

    def summary(self, patients: Iterable[tuple[str | None, dict[str, int]]]) -> None:
        """Write a line for each patient."""
        count = 0
        for patient, series in patients:
            write("patient", PatientID=patient, series=series)
            count += 1
        write("summary", patients=count)

    def verified(
        self,
        findings: Iterable[Verified],
        vanished: Callable[[], Iterable[Against]],
        *,
        listed: bool = False,
        last: bool = True,
    ) -> None:
        """Write a line for each finding, and for each output that lacks most of its files."""
        counts: Counter[str] = Counter(dict.fromkeys(Finding, 0))
        for found in findings:
            counts[found.finding] += 1
            if found.finding is not Finding.OK:
                write("finding", finding=found.finding, destination=found.destination)
        self.findings(vanished())
        if last:
            write("summary", **counts)

    def mending(self, counts: dict[str, int], plan: Plan, unmended: Iterable[tuple[str, str]], *, listed: bool = False) -> None:
        """Write a line for each destination that the plan does not repair; then the counts, and those of the plan."""
        number = 0
        for destination, why in unmended:
            write("unmended", destination=destination, message=why)
            number += 1
        write("summary", **counts, unmended=number, plan=plan_totals(plan))

    def status(self, actions: list[ActionStatus], refusals: Refusals, asserted: Sequence[Asserted]) -> None:
        """Write a line for each action, and for each expectation."""
        for action in actions:
            write("action", **asdict(action))
        due, blocked = sum(a.due for a in actions), sum(a.blocked for a in actions)
        self.asserted(asserted)
        totals = {"refused": sum(refusals.standing.values()), "expectations": asserted_totals(asserted)}
        write("summary", actions=len(actions), due=due, blocked=blocked, **totals)

    def history(self, runs: list[Run]) -> None:
        """Write a line for each run."""
        for run in runs:
            write("run", **asdict(run))
        write("summary", runs=len(runs))

    def explained(self, instances: list[Explained]) -> None:
        """Write a line for each instance."""
        for instance in instances:
            source = base64.b64encode(instance.source).decode()
            steps = [_explained(step) for step in instance.steps]
            not_in = [{"set": other.name, "has": other.has} for other in instance.not_in]
            known = {"source_b64": source, "sets": instance.sets, "not_in": not_in, "steps": steps}
            write("instance", SOPInstanceUID=instance.SOPInstanceUID, **known)
        write("summary", instances=len(instances))

    def texts(self, files: dict[str, str]) -> None:
        """Write a line for each file."""
        for name, text in files.items():
            write("file", name=name, text=text)
        write("summary", files=len(files))

    def unserved(self, images: int) -> None:
        """Write a line before the files."""
        write("warning", reason="object-file-too-long", images=images)

    def exported(self, file: Path, rows: int) -> None:
        """Write the summary."""
        write("summary", file=str(file), rows=rows)

    def to_forget(self, going: Going, *, files: bool) -> None:
        """Write a line before the question."""
        write("to_forget", **asdict(going), delete_files=files)

    def forgotten(self, result: Forgotten) -> None:
        """Write the summary."""
        write("summary", **asdict(result))

    def remembered(self, decisions: int) -> None:
        """Write the summary."""
        write("summary", decisions=decisions)

    def answered(self, node: str, seconds: float) -> None:
        """Write the summary."""
        write("summary", node=node, seconds=round(seconds, 3))

    @contextmanager
    def listening(self) -> Iterator[Emit]:
        """Write a line for each event: start, counts, runs of `then`, failures, refusals and notes."""

        def take(event: Event) -> None:
            match event:
                case Listens():
                    write("listening", **asdict(event))
                case Healthy(name, counts):
                    write("health", listener=name, **counts)
                case Ran(counts):
                    write("ran", **counts)
                case ThenWaits():
                    write("then_waits", **asdict(event))
                case InstanceRefused():
                    write("instance_refused", **asdict(event))
                case InstanceNoted():
                    write("instance_noted", **asdict(event))
                case PeerRefused():
                    write("peer_refused", **asdict(event))
                case _:
                    _failures(event)
            sys.stdout.flush()

        yield take

    def listened(self, health: Healthy) -> None:
        """Write the summary."""
        write("summary", listener=health.listener, **health.counts)

    def error(self, message: str, exit_code: int) -> None:
        """Write the last line of a failed command; the message goes to standard error too."""
        write("error", message=message, exit_code=exit_code)
        sys.stderr.write(f"error: {message}\n")


def step_fields(step: Step) -> dict[str, object]:
    """Return a step as JSON fields."""
    operation, at = step.operation, dict[str, object]()
    if isinstance(operation, RetrieveInstance):
        study, series = operation.series.StudyInstanceUID, operation.series.SeriesInstanceUID
        at = {"node": operation.node, "StudyInstanceUID": study, "SeriesInstanceUID": series}
    return {
        "action": step.action,
        "status": step.status,
        "reason": step.reason,
        "SOPInstanceUID": step.SOPInstanceUID,
        "destination": step.operation.destination,
        "message": step.message,
        **at,
    }


def _explained(explained: ExplainedStep) -> dict[str, object]:
    """Return a step as JSON fields, with the steps that block it."""
    fields = step_fields(explained.step)
    if explained.member is not None:
        fields["member"] = explained.member
    if explained.partners:
        fields["partners"] = [
            {
                "action": partner.action,
                "SOPInstanceUID": partner.SOPInstanceUID,
                "source_b64": base64.b64encode(partner.source).decode(),
                "destination": partner.destination,
            }
            for partner in explained.partners
        ]
        fields["others"] = explained.others
    return fields


def write(event: str, **fields: object) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")


def _failures(event: Event) -> None:
    match event:
        case StepFailed():
            write("failed", **asdict(event))
        case StepsWait():
            write("waiting", **asdict(event))
        case Noted(action, message):
            write("warning", action=action, SOPInstanceUID="", message=message)
        case SourceNoted(source, message):
            write("warning", source=source, message=message)
        case StepDone(action, uid, _, str(warning)):
            write("warning", action=action, SOPInstanceUID=uid, message=warning)
        case LittleRoom(message):
            write("warning", finding="no-room", message=message)
        case BroughtAlong(action, instances):
            write("warning", action=action, instances=instances, message=event.message)
