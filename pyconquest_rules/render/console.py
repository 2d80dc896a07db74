"""For people: tables on standard output, what goes on on standard error."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console as Terminal
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pyconquest_rules.answers import ActionStatus, Explained, Forgotten, Indexed
from pyconquest_rules.events import Emit, Event, FileTold, Planning, RunStarted, StepDone, StepFailed, Walked
from pyconquest_rules.execute.ledger import Run
from pyconquest_rules.execute.runner import Result
from pyconquest_rules.execute.verify import Finding, Verified
from pyconquest_rules.index.forgetting import Going
from pyconquest_rules.index.sql import Row
from pyconquest_rules.plan.store import Plan
from pyconquest_rules.steps import Reason, Status, Step

MOST_SHOWN = 50
USUAL = (Finding.OK, Finding.MISSING, Finding.CHANGED, Finding.EXTRA)
WIDEST = 100_000
SIGNS = {Status.TODO: ("+", "green"), Status.BLOCKED: ("!", "red"), Status.UNCHANGED: ("=", "dim")}


class Console:
    """The renderer for people."""

    def __init__(self) -> None:
        # Lines of data are never wrapped or coloured by their content: a UID stays one word for whoever copies it.
        self.out = Terminal(highlight=False, soft_wrap=True, width=WIDEST)
        self.err = Terminal(stderr=True, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self) -> Iterator[Emit]:
        """A progress bar on a terminal; failures of steps as they come."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.err, transient=True, disable=not self.err.is_terminal) as bar:
            yield _Bar(bar, self.err).take

    def written(self, file: Path, next_step: str) -> None:
        """Which file, and what to do next."""
        self.out.print(Text(f"wrote {file}; {next_step}"))

    def checked(self, counts: dict[str, int]) -> None:
        """How many of what there are."""
        self.out.print(
            "[green]ok[/]: "
            + ", ".join(f"{number} {name if number != 1 else name.removesuffix('s')}" for name, number in counts.items())
        )

    def indexed(self, result: Indexed) -> None:
        """The counts that are not nought, and the reasons."""
        counts = {name: number for name, number in result.counts.items() if number or name in ("seen", "read")}
        self.err.print("index: " + ", ".join(f"{name} {number:,}" for name, number in counts.items()))
        for reason, number in sorted(result.reasons.items()):
            self.err.print(f"  {number:,} not indexed: {reason}")
        for kind, number in result.contradictions.items():
            self.err.print(f"  {number:,} {kind}: see the view contradictions", style="yellow")
        if result.reasons:
            self.err.print("  which files: index --report FILE", style="dim")

    def planned(self, plan: Plan, *, steps: bool) -> None:
        """The steps where they are asked for, or the first of them on a terminal; what is blocked; the counts of each action."""
        if steps or self.out.is_terminal:
            self._steps(plan, all_of_them=steps)
        reasons = plan.reasons()
        for action, of in plan.counts().items():
            self.out.print(Text(action, style="bold"))
            for status in Status:
                why = ", ".join(
                    f"{reason} {n:,}" for (name, is_, reason), n in sorted(reasons.items()) if (name, is_) == (action, status)
                )
                of_bytes = f", {size(of['bytes'])}" if status is Status.TODO and of["bytes"] else ""
                if of[status]:
                    self.out.print(f"  {status:<10} {of[status]:>9,}  ({why}{of_bytes})", style=SIGNS[status][1])
        if not any(of[status] for of in plan.counts().values() for status in Status):
            self.out.print("nothing is selected")

    def _steps(self, plan: Plan, *, all_of_them: bool) -> None:
        shown = 0
        for status in (Status.TODO, Status.BLOCKED):
            for step in plan.steps(status=status):
                if shown == MOST_SHOWN and not all_of_them:
                    self.out.print("… and more: plan --list shows all", style="dim")
                    return
                self.out.print(_line(step))
                shown += 1

    def applied(self, result: Result) -> None:
        """What was done."""
        counts = {name: number for name, number in result.counts.items() if name != "bytes"}
        line = f"run {result.run}: " + ", ".join(
            f"{name} {number:,}" for name, number in counts.items() if number or name == "done"
        )
        self.err.print(f"{line}, {size(result.counts['bytes'])} written")
        if result.interrupted:
            self.err.print("interrupted; the next run does the rest", style="yellow")

    def rows(self, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
        """A table on a terminal as wide as it must be, made once the last row is known."""
        table = _table(*columns)
        for row in rows:
            table.add_row(*(_cell(value) for value in row))
        self.out.print(table)

    def summary(self, patients: Iterable[tuple[str, dict[str, int]]]) -> None:
        """A row a patient, a column a modality."""
        found = list(patients)
        modalities = sorted({modality for _, series in found for modality in series})
        table = _table("PatientID", *(modality or "(none)" for modality in modalities))
        for patient, series in found:
            table.add_row(_cell(patient or "(none)"), *(str(series.get(modality, "")) for modality in modalities))
        self.out.print(table)

    def verified(self, findings: Iterable[Verified]) -> dict[str, int]:
        """What is not as it should be, then the counts."""
        counts: Counter[str] = Counter(dict.fromkeys(Finding, 0))
        for found in findings:
            counts[found.finding] += 1
            if found.finding is not Finding.OK:
                self.out.print(Text(f"{found.finding:<8} {printable(found.destination)}"))
        self.err.print("verify: " + ", ".join(f"{name} {counts[name]:,}" for name in Finding if counts[name] or name in USUAL))
        return dict(counts)

    def status(self, actions: list[ActionStatus]) -> None:
        """A row an action."""
        table = _table("action", "done", "due", "blocked", "failed", "last done")
        for a in actions:
            table.add_row(a.action, f"{a.done:,}", f"{a.due:,}", f"{a.blocked:,}", f"{a.failed:,}", a.last or "never")
        self.out.print(table)

    def history(self, runs: list[Run]) -> None:
        """A row a run."""
        table = _table("run", "started", "finished", "targets", "done", "unchanged", "failed", "blocked", "bytes", "ending")
        for run in runs:
            numbers = (f"{number:,}" for number in (run.done, run.unchanged, run.failed, run.blocked))
            table.add_row(
                str(run.number),
                run.started,
                run.finished or "",
                run.targets or "all",
                *numbers,
                size(run.bytes),
                run.ending or "killed?",
            )
        self.out.print(table)

    def explained(self, instances: list[Explained]) -> None:
        """A paragraph an instance."""
        for instance in instances:
            self.out.print(Text(instance.SOPInstanceUID, style="bold"))
            self.out.print(Text(f"  file   {printable(instance.source.decode('utf-8', 'surrogateescape'))}"))
            self.out.print(f"  sets   {', '.join(instance.sets) or 'none'}")
            for step in instance.steps:
                self.out.print(
                    Text(f"  {step.action}: {step.status} ({step.reason}) → {printable(step.operation.destination) or 'nowhere'}")
                )
                if step.message:
                    self.out.print(Text(f"    {step.message}"))

    def texts(self, files: dict[str, str]) -> None:
        """One after the other, each below its name."""
        for name, text in files.items():
            self.out.print(Text(f"----- {name} -----\n{text}"))

    def exported(self, file: Path, rows: int) -> None:
        """How many rows went where."""
        self.err.print(Text(f"wrote {rows:,} {'row' if rows == 1 else 'rows'} to {file}"))

    def to_forget(self, going: Going, *, files: bool) -> None:
        """The numbers, and what becomes of the files."""
        numbers = f"{going.images:,} images of {going.series:,} series, {going.studies:,} studies, {going.patients:,} patients"
        what = "are deleted from the disk" if files else "stay on the disk, and are left out until they change"
        self.err.print(f"forget {numbers}; their {going.files:,} files {what}")

    def forgotten(self, result: Forgotten) -> None:
        """The numbers."""
        self.err.print(f"forgotten: {result.images:,} images, {result.files:,} files, {result.deleted:,} of them deleted")
        if result.failed:
            self.err.print(f"{result.failed:,} files could not be deleted", style="red")

    def error(self, message: str, exit_code: int) -> None:
        """In red on standard error. What begins with its place stays so, for editors to find it."""
        begins_with_place = re.match(r"\S[^\n:]*:\d+:\d+: ", message)
        self.err.print(Text.assemble(("" if begins_with_place else "error: ", "bold red"), message))


class _Bar:
    """Turns events into a progress bar."""

    def __init__(self, bar: Progress, terminal: Terminal) -> None:
        self.bar, self.terminal, self.failures = bar, terminal, 0
        self.reading: TaskID | None = None
        self.doing: TaskID | None = None

    def take(self, event: Event) -> None:
        match event:
            case Walked(to_read=to_read) if to_read:
                total = to_read + (self.bar.tasks[self.reading].total or 0 if self.reading is not None else 0)
                if self.reading is None:
                    self.reading = self.bar.add_task("reading headers", total=0)
                self.bar.update(self.reading, total=total)
            case FileTold(outcome="indexed" | "rejected" | "duplicate") if self.reading is not None:
                self.bar.advance(self.reading)
            case Planning(action=action, steps=steps):
                self.bar.console.print(
                    f"planning {escape(action)}: {steps:,} steps", style="dim"
                ) if self.bar.console.is_terminal else None
            case RunStarted(steps=steps):
                self.doing = self.bar.add_task("files", total=steps)
            case StepDone() if self.doing is not None:
                self.bar.advance(self.doing)
            case StepFailed(action=action, SOPInstanceUID=uid, message=message):
                self.failures += 1
                if self.doing is not None:
                    self.bar.advance(self.doing)
                if self.failures <= MOST_SHOWN:
                    self.bar.console.print(Text(f"failed: {action} {uid}: {message}", style="red"))


def _line(step: Step) -> Text:
    sign, colour = SIGNS[step.status]
    shown = printable(step.operation.destination) or step.SOPInstanceUID
    why = (
        f"{step.reason}: {step.message}"
        if (step.message and step.reason is not Reason.CONFLICT) or step.status is Status.BLOCKED
        else step.reason
    )
    return Text.assemble((f"{sign} {step.action} ", colour), shown, (f"  ({why})", "dim"))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(Text(printable(column)), no_wrap=True)
    return table


def _cell(value: object) -> Text:
    return Text("" if value is None else printable(str(value)))


def printable(text: str) -> str:
    """Text that does nothing to a terminal: control characters and what is no text are shown as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def size(number: float) -> str:
    """A number of bytes for people, in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
