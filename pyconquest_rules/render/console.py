"""For people: tables on standard output, what goes on on standard error."""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyconquest_rules.answers import ActionStatus, Explained, Forgotten, Going, Indexed, Refusals
from pyconquest_rules.events import (
    BroughtAlong,
    Emit,
    Event,
    FromListener,
    Healthy,
    InstanceNoted,
    InstanceRefused,
    Listens,
    NodeNoted,
    PeerRefused,
    Ran,
    StepDone,
    StepFailed,
    StepsWait,
)
from pyconquest_rules.execute.ledger import Run
from pyconquest_rules.execute.runner import Result
from pyconquest_rules.execute.verify import Finding, Verified
from pyconquest_rules.index.sql import Row
from pyconquest_rules.plan.store import Plan
from pyconquest_rules.render.terminal import Part, Terminal, printable, table
from pyconquest_rules.steps import Reason, Status, Step

MOST_SHOWN = 50
USUAL = (Finding.OK, Finding.MISSING, Finding.CHANGED, Finding.EXTRA)
SIGNS = {Status.TODO: ("+", "green"), Status.BLOCKED: ("!", "red"), Status.UNCHANGED: ("=", "dim")}


class Console:
    """The renderer for people."""

    def __init__(self) -> None:
        self.out, self.err = Terminal(sys.stdout), Terminal(sys.stderr)

    @contextmanager
    def progress(self) -> Iterator[Emit]:
        """A progress bar on a terminal; failures of steps as they come."""
        if not self.err.is_terminal:
            yield _Failures(self.err.print).take
            return
        from pyconquest_rules.render.progress import progress

        with progress() as bar:
            failures = _Failures(bar.write)

            def take(event: Event) -> None:
                failures.take(event)
                bar.take(event)

            yield take

    def written(self, file: Path, next_step: str) -> None:
        """Which file, and what to do next."""
        self.out.print(f"wrote {printable(str(file))}; {next_step}")

    def checked(self, counts: dict[str, int]) -> None:
        """How many of what there are."""
        numbers = (f"{number} {name if number != 1 else name.removesuffix('s')}" for name, number in counts.items())
        self.out.print(("ok", "green"), f": {', '.join(numbers)}")

    def indexed(self, result: Indexed) -> None:
        """The counts that are not zero, the notes and the reasons."""
        counts = {name: number for name, number in result.counts.items() if number or name in ("seen", "read")}
        self.err.print("index: " + ", ".join(f"{name} {number:,}" for name, number in counts.items()))
        for kind, number in result.contradictions.items():
            self.err.print((f"  {number:,} {kind}: see the view contradictions", "yellow"))
        for note, number in sorted(result.notes.items()):
            self.err.print(f"  {number:,} indexed with a note: {note}")
        for reason, number in sorted(result.reasons.items()):
            self.err.print(f"  {number:,} not indexed: {reason}")
        if result.reasons or result.notes:
            self.err.print(("  which files: index --report FILE", "dim"))
        self.refused(result.refusals)

    def refused(self, refusals: Refusals) -> None:
        """The reasons of what must be dealt with, and how to see which files they are."""
        if refusals.standing:
            number = sum(refusals.standing.values())
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in refusals.standing.items())
            self.err.print(
                (f"{number:,} DICOM {'file is' if number == 1 else 'files are'} not in the index: {reasons}", "yellow")
            )
            self.err.print(("  which: query \"select * from files where Outcome = 'rejected'\"", "dim"))

    def planned(self, plan: Plan, *, steps: bool) -> None:
        """The steps where they are asked for, or the first of them on a terminal; what is blocked; the counts of each action."""
        if steps or self.out.is_terminal:
            self._steps(plan, all_of_them=steps)
        reasons = plan.reasons()
        for action, of in plan.counts().items():
            self.out.print((action, "bold"))
            for status in Status:
                why = ", ".join(
                    f"{reason} {n:,}" for (name, is_, reason), n in sorted(reasons.items()) if (name, is_) == (action, status)
                )
                of_bytes = f", {size(of['bytes'])}" if status is Status.TODO and of["bytes"] else ""
                if of[status]:
                    self.out.print((f"  {status:<10} {of[status]:>9,}  ({why}{of_bytes})", SIGNS[status][1]))
        if not any(of[status] for of in plan.counts().values() for status in Status):
            self.out.print("nothing is selected")

    def _steps(self, plan: Plan, *, all_of_them: bool) -> None:
        shown = 0
        for status in (Status.TODO, Status.BLOCKED):
            for step in plan.steps(status=status):
                if shown == MOST_SHOWN and not all_of_them:
                    self.out.print(("… and more: plan --list shows all", "dim"))
                    return
                self.out.print(*_line(step))
                shown += 1

    def applied(self, result: Result) -> None:
        """What was done."""
        counts = {name: number for name, number in result.counts.items() if name != "bytes"}
        line = f"run {result.run}: " + ", ".join(
            f"{name} {number:,}" for name, number in counts.items() if number or name == "done"
        )
        self.err.print(f"{line}, {size(result.counts['bytes'])} written")
        if result.interrupted:
            self.err.print(("interrupted; the next run does the rest", "yellow"))

    def rows(self, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
        """A table on a terminal as wide as it must be, made once the last row is known."""
        self._table(columns, ([_cell(value) for value in row] for row in rows))

    def summary(self, patients: Iterable[tuple[str, dict[str, int]]]) -> None:
        """A row a patient, a column a modality."""
        found = list(patients)
        modalities = sorted({modality for _, series in found for modality in series})
        columns = ("PatientID", *(modality or "(none)" for modality in modalities))
        self._table(
            columns,
            ([_cell(patient or "(none)"), *(str(series.get(name, "")) for name in modalities)] for patient, series in found),
        )

    def verified(self, findings: Iterable[Verified], *, last: bool = True) -> dict[str, int]:
        """What is not as it should be, then the counts."""
        counts: Counter[str] = Counter(dict.fromkeys(Finding, 0))
        for found in findings:
            counts[found.finding] += 1
            if found.finding is not Finding.OK:
                self.out.print(f"{found.finding:<8} {printable(found.destination)}")
        self.err.print("verify: " + ", ".join(f"{name} {counts[name]:,}" for name in Finding if counts[name] or name in USUAL))
        return dict(counts)

    def mending(self, counts: dict[str, int], plan: Plan, unmended: Iterable[tuple[str, str]]) -> None:
        """The plan, then what it does not mend."""
        self.planned(plan, steps=False)
        for destination, why in unmended:
            self.out.print(("not mended ", "red"), printable(destination), (f"  ({why})", "dim"))

    def status(self, actions: list[ActionStatus], refusals: Refusals) -> None:
        """A row an action."""
        columns = ("action", "done", "due", "blocked", "failed", "last done")
        self._table(
            columns,
            ([a.action, *(f"{n:,}" for n in (a.done, a.due, a.blocked, a.failed)), a.last or "never"] for a in actions),
        )

    def history(self, runs: list[Run]) -> None:
        """A row a run."""
        columns = ("run", "started", "finished", "targets", "done", "unchanged", "failed", "blocked", "bytes", "ending")
        self._table(columns, map(_run, runs))

    def explained(self, instances: list[Explained]) -> None:
        """A paragraph an instance."""
        for instance in instances:
            self.out.print((instance.SOPInstanceUID, "bold"))
            self.out.print(f"  file   {printable(instance.source.decode('utf-8', 'surrogateescape'))}")
            self.out.print(f"  sets   {', '.join(instance.sets) or 'none'}")
            for step in instance.steps:
                where = printable(step.operation.destination) or "nowhere"
                self.out.print(f"  {step.action}: {step.status} ({step.reason}) → {where}")
                if step.message:
                    self.out.print(f"    {step.message}")

    def texts(self, files: dict[str, str]) -> None:
        """One after the other, each below its name."""
        for name, text in files.items():
            self.out.print(f"----- {name} -----\n{text}")

    def unserved(self, images: int) -> None:
        """A warning."""
        what = "1 image has a path" if images == 1 else f"{images:,} images have paths"
        self.err.print(f"warning: {what} longer than 255 bytes, which a Conquest server cannot serve; shorten folder names")

    def exported(self, file: Path, rows: int) -> None:
        """How many rows went where."""
        self.err.print(f"wrote {rows:,} {'row' if rows == 1 else 'rows'} to {printable(str(file))}")

    def to_forget(self, going: Going, *, files: bool) -> None:
        """The numbers, and what becomes of the files."""
        numbers = f"{going.images:,} images of {going.series:,} series, {going.studies:,} studies, {going.patients:,} patients"
        what = "are deleted from the disk" if files else "stay on the disk and are left out, as are files of it that come later"
        self.err.print(f"forget {numbers}; their {going.files:,} files {what}")

    def forgotten(self, result: Forgotten) -> None:
        """The numbers."""
        self.err.print(f"forgotten: {result.images:,} images, {result.files:,} files, {result.deleted:,} of them deleted")
        if result.failed:
            self.err.print((f"{result.failed:,} files could not be deleted", "red"))

    def remembered(self, decisions: int) -> None:
        """The number, and what to do next."""
        what = "1 decision" if decisions == 1 else f"{decisions:,} decisions"
        self.err.print(f"took back {what}; to read the files again: pyconquest-rules index")

    def answered(self, node: str, seconds: float) -> None:
        """One line."""
        self.out.print((f"{printable(node)} answers", "green"), f" ({seconds * 1000:.0f} ms)")

    @contextmanager
    def listening(self) -> Iterator[Emit]:
        """A line when it begins, and one for every run of `then`; steps that fail; what is refused or odd."""
        failures = _Failures(self.err.print)

        def take(event: Event) -> None:
            match event:
                case Listens(name, ae_title, host, port):
                    self.err.print((f"{name} listens as {ae_title} on {host}:{port}", "green"), "; Ctrl-C ends it")
                case InstanceRefused() | InstanceNoted() | PeerRefused():
                    self.err.print((printable(_logged(event)), "yellow" if isinstance(event, InstanceNoted) else "red"))
                case Ran(counts):
                    self.err.print(", ".join(f"{what} {number:,}" for what, number in counts.items()))
                case _:
                    failures.take(event)
            self.err.stream.flush()

        yield take

    def listened(self, health: Healthy) -> None:
        """The counts."""
        self.out.print(f"{health.listener}: {', '.join(f'{what} {number:,}' for what, number in health.counts.items())}")

    def error(self, message: str, exit_code: int) -> None:
        """In red on standard error. What begins with its place stays so, for editors to find it."""
        begins_with_place = re.match(r"\S[^\n:]*:\d+:\d+: ", message)
        self.err.print(("" if begins_with_place else "error: ", "bold red"), printable(message, but="\n\t"))

    def _table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        for line in table([*map(printable, columns)], [*rows]):
            self.out.print(*line)


class _Failures:
    """Shows the first steps that fail or of which a node says more than success, with `show`."""

    def __init__(self, show: Callable[[Part], None]) -> None:
        self.show, self.number = show, 0

    def take(self, event: Event) -> None:
        match event:
            case StepFailed(action, uid, message):
                self._show(f"failed: {' '.join(filter(None, (action, uid)))}: {message}", "red")
            case StepsWait(action, steps, why):
                self._show(f"{action}: {why}: {steps:,} {'instances wait' if steps != 1 else 'instance waits'}", "yellow")
            case NodeNoted(action, message):
                self._show(f"warning: {f'{action}: ' if action else ''}{message}", "yellow")
            case StepDone(action, uid, _, str(warning)):
                self._show(f"warning: {action} {uid}: {warning}", "yellow")
            case BroughtAlong(action):
                self._show(f"warning: {action}: {event.message}", "yellow")

    def _show(self, text: str, colour: str) -> None:
        self.number += 1
        if self.number <= MOST_SHOWN:
            self.show((text, colour))


def _logged(event: FromListener) -> str:
    """One line of the log of a listener: when, what, from whom, why."""
    peer = f"{event.calling_ae_title or '(unknown)'} at {event.address}"
    match event:
        case InstanceRefused(time, uid, status, reason):
            return f"{time} refused {uid or '(no valid SOPInstanceUID)'} from {peer}: {reason} ({status:04X})"
        case InstanceNoted(time, uid, note):
            return f"{time} kept {uid} from {peer}: {note}"
        case PeerRefused(time, what, reason):
            return f"{time} {'aborted the association' if what == 'abort' else f'refused {A[what]}'} of {peer}: {reason}"


A = {"connection": "a connection", "association": "an association", "context": "a SOP class", "commitment": "a commitment"}


def _line(step: Step) -> tuple[Part, ...]:
    sign, colour = ("-", "yellow") if (step.status, step.reason) == (Status.TODO, Reason.PRUNE) else SIGNS[step.status]
    shown = printable(step.operation.destination) or step.SOPInstanceUID
    why = (
        f"{step.reason}: {step.message}"
        if (step.message and step.reason is not Reason.CONFLICT) or step.status is Status.BLOCKED
        else step.reason
    )
    return (f"{sign} {step.action} ", colour), shown, (f"  ({why})", "dim")


def _run(run: Run) -> list[str]:
    numbers = (f"{number:,}" for number in (run.done, run.unchanged, run.failed, run.blocked))
    times = (str(run.number), run.started, run.finished or "")
    return [*times, run.targets or "all", *numbers, size(run.bytes), run.ending or "killed?"]


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value))


def size(number: float) -> str:
    """A number of bytes for people, in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
