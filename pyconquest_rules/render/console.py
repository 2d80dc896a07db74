"""Output for people: tables on standard output, messages on standard error."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import join
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from pyconquest_rules.answers import ActionStatus, Asserted, Explained, Forgotten, Going, Indexed, Refusals, size
from pyconquest_rules.answers import Finding as Against
from pyconquest_rules.engine.verified import Finding, Verified
from pyconquest_rules.events import Emit, Event, Healthy
from pyconquest_rules.render.asserted import asserted_lines
from pyconquest_rules.render.counts import plan_lines, run_counts
from pyconquest_rules.render.explanations import explanation
from pyconquest_rules.render.failures import failures_to
from pyconquest_rules.render.listener import local_time, log_to
from pyconquest_rules.render.steps import group_lines, step_line
from pyconquest_rules.render.terminal import Part, Terminal, cell, folded, printable, table, text_of, width

if TYPE_CHECKING:
    from pyconquest_rules.engine.overview import Group
    from pyconquest_rules.engine.plan import Plan
    from pyconquest_rules.engine.runner import Result
    from pyconquest_rules.engine.runs import Run
    from pyconquest_rules.index.query.sql import Row

NARROW = 60  # columns; a bar that wraps cannot be taken back
USUAL = (Finding.OK, Finding.MISSING, Finding.CHANGED, Finding.EXTRA)


class Console:
    """The renderer for people. `warnings`: also show messages that failed no step."""

    warnings = True

    def __init__(self) -> None:
        self.out, self.err = Terminal(sys.stdout), Terminal(sys.stderr)

    @contextmanager
    def progress(self) -> Iterator[Emit]:
        """Show a progress bar on a wide terminal, and failed steps; equal failures of an action are one line."""
        if not self.err.is_terminal or get_terminal_size().columns < NARROW:
            with failures_to(self.err.print, warnings=self.warnings) as failures:
                yield failures.take
            return
        from pyconquest_rules.render.progress import progress

        with progress() as bar, failures_to(bar.write, warnings=self.warnings) as failures:

            def take(event: Event) -> None:
                failures.take(event)
                bar.take(event)

            yield take

    def written(self, file: Path, next_step: str) -> None:
        """Print the file and the next command."""
        self.out.print(f"wrote {printable(str(file))}; {next_step}")

    def checked(self, counts: dict[str, int], commands: Mapping[str, tuple[str, ...]]) -> None:
        """Print the numbers of sources, sets and actions, the others that are not zero, and the commands."""
        shown = {name: number for name, number in counts.items() if number or name in ("sources", "sets", "actions")}
        numbers = (f"{number} {name if number != 1 else name.removesuffix('s')}" for name, number in shown.items())
        self.out.print(("ok", "green"), f": {', '.join(numbers)}")
        for action, command in commands.items():
            self.out.print(f"  {action} runs, with --allow-commands: {join(command)}")

    def indexed(self, result: Indexed) -> None:
        """Print the counts that are not zero, the notes and the reasons."""
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
        """Print the reasons, and the query that lists the files."""
        if refusals.standing:
            number = sum(refusals.standing.values())
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in refusals.standing.items())
            self.err.print(
                (f"{number:,} DICOM {'file is' if number == 1 else 'files are'} not in the index: {reasons}", "yellow")
            )
            self.err.print(("  which: query \"select * from files where Outcome = 'rejected'\"", "dim"))

    def planned(self, plan: Plan, *, steps: bool) -> None:
        """Print each step if requested, or the first ones on a terminal; then the counts of each action."""
        if steps:
            for step in plan.by_weight():
                self.out.print(*step_line(step))
        elif self.out.is_terminal:
            from pyconquest_rules.engine.overview import overview

            self._groups(overview(plan))
        for line in plan_lines(plan):
            self.out.print(*line)
        self.asserted(plan.asserted, listed=steps)
        self.findings(plan.findings)

    def findings(self, findings: Iterable[Against]) -> None:
        """Print each in red on a line."""
        for finding in findings:
            self.err.print(("error: ", "bold red"), printable(finding.message))

    def asserted(self, results: Sequence[Asserted], *, listed: bool = False) -> None:
        """Print a line for each. If listed or on a terminal, print the first rows of those that fail too."""
        for line in asserted_lines(results, rows=listed or self.out.is_terminal):
            self.out.print(*line)

    def blocked(self, groups: Sequence[Group]) -> None:
        """Print them by folder on a terminal, or else a line for each reason."""
        if self.out.is_terminal:
            self._groups(groups)
            return
        for group in groups:
            self.out.print((f"{group.action}  {group.steps:,} blocked  ({group.reason})", "red"))

    def _groups(self, groups: Iterable[Group]) -> None:
        for line in group_lines(groups, get_terminal_size().columns):
            self.out.print(*line)

    def applied(self, result: Result) -> None:
        """Print the results of expectations and the counts of the run."""
        self.asserted(result.asserted)
        self.err.print(f"run {result.run}: {run_counts(result.counts)}")
        if result.interrupted:
            self.err.print(("interrupted; the next run does the rest", "yellow"))

    def rows(self, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
        """Print a table row by row; the first rows decide the width of its columns."""
        self._table(columns, ([cell(value) for value in row] for row in rows))

    def summary(self, patients: Iterable[tuple[str | None, dict[str, int]]]) -> None:
        """Print a row per patient and a column per modality, or a list if the columns do not fit."""
        found = [(cell(patient or "(none)"), series) for patient, series in patients]
        modalities = sorted({modality for _, series in found for modality in series})
        columns = ("PatientID", *(printable(modality or "(none)") for modality in modalities))
        rows = [[patient, *(str(series.get(name, "")) for name in modalities)] for patient, series in found]
        lines, room = [*table(columns, rows)], get_terminal_size().columns
        if max(width("".join(text_of(part) for part in line)) for line in lines) > room:
            listed = ([f"{printable(name or '(none)')} {number}" for name, number in series.items()] for _, series in found)
            lines = [*folded([patient for patient, _ in found], listed, room)]
        for line in lines:
            self.out.print(*line)

    def verified(
        self,
        findings: Iterable[Verified],
        vanished: Callable[[], Iterable[Against]],
        *,
        listed: bool = False,
        last: bool = True,
    ) -> None:
        """Print the findings if requested or on a terminal, then the counts and a possible cause."""
        listed = listed or self.out.is_terminal
        counts = self._found(findings, self.out if listed else None)
        self._counted(counts, listed)
        self.findings(vanished())

    def _found(self, findings: Iterable[Verified], shown: Terminal | None) -> dict[str, int]:
        """Print the findings; return the counts."""
        counts: Counter[str] = Counter(dict.fromkeys(Finding, 0))
        for found in findings:
            counts[found.finding] += 1
            if shown and found.finding is not Finding.OK:
                shown.print(f"{found.finding:<8} {printable(found.destination)}")
        return dict(counts)

    def _counted(self, counts: dict[str, int], listed: bool) -> None:
        self.err.print("verify: " + ", ".join(f"{name} {counts[name]:,}" for name in Finding if counts[name] or name in USUAL))
        if not listed and any(counts[name] for name in Finding if name is not Finding.OK):
            self.err.print(("  which: verify --list", "dim"))

    def mending(self, counts: dict[str, int], plan: Plan, unmended: Iterable[tuple[str, str]], *, listed: bool = False) -> None:
        """Print the plan, then the destinations that it does not repair: each if listed or on a terminal, or else counts."""
        self.planned(plan, steps=listed)
        reasons = Counter[str]()
        for destination, why in unmended:
            if listed or self.out.is_terminal:
                self.out.print(("not repaired ", "red"), printable(destination), (f"  ({why})", "dim"))
            else:
                reasons[why] += 1
        for why, number in sorted(reasons.items()):
            self.out.print((f"not repaired {number:,}", "red"), (f"  ({why})", "dim"))

    def status(self, actions: list[ActionStatus], refusals: Refusals, asserted: Sequence[Asserted]) -> None:
        """Print a row per action, then a line per expectation."""
        columns = ("action", "done", "due", "blocked", "failed", "last done")
        self._table(
            columns,
            ([a.action, *(f"{n:,}" for n in (a.done, a.due, a.blocked, a.failed)), a.last or "never"] for a in actions),
        )
        self.asserted(asserted)

    def history(self, runs: list[Run]) -> None:
        """Print a row per run, then the reasons of runs that could not begin or ended early."""
        columns = ("run", "started", "finished", "targets", "done", "unchanged", "failed", "blocked", "bytes", "ending")
        self._table(columns, map(_run, runs))
        for run in runs:
            if run.reason:
                self.out.print(
                    (f"run {run.number} {'was ' * (run.ending == 'not begun')}{run.ending}: ", "red"), printable(run.reason)
                )

    def explained(self, instances: list[Explained]) -> None:
        """Print a paragraph per instance."""
        for instance in instances:
            for line in explanation(instance):
                self.out.print(*line)

    def texts(self, files: dict[str, str]) -> None:
        """Print each file below its name."""
        for name, text in files.items():
            self.out.print(f"----- {name} -----\n{text}")

    def unserved(self, images: int) -> None:
        """Print a warning."""
        what = "1 image has a path" if images == 1 else f"{images:,} images have paths"
        self.err.print(f"warning: {what} longer than 255 bytes or inside an archive, which a Conquest server cannot serve")

    def exported(self, file: Path, rows: int) -> None:
        """Print the number of rows and the file."""
        self.err.print(f"wrote {rows:,} {'row' if rows == 1 else 'rows'} to {printable(str(file))}")

    def to_forget(self, going: Going, *, files: bool) -> None:
        """Print the numbers, and whether files are deleted."""
        numbers = f"{going.images:,} images of {going.series:,} series, {going.studies:,} studies, {going.patients:,} patients"
        what = "are deleted from the disk" if files else "stay on the disk; the index ignores these and later ones"
        self.err.print(f"forget {numbers}; their {going.files:,} files {what}")

    def forgotten(self, result: Forgotten) -> None:
        """Print the numbers."""
        if not result.images:
            self.err.print("nothing was changed")
            return
        folders = f"; {result.folders:,} empty folders deleted" if result.folders else ""
        self.err.print(
            f"forgotten: {result.images:,} images, {result.files:,} files, {result.deleted:,} of them deleted{folders}"
        )
        if result.failed:
            self.err.print((f"{result.failed:,} files could not be deleted", "red"))

    def remembered(self, decisions: int) -> None:
        """Print the number and the next command."""
        what = "1 decision" if decisions == 1 else f"{decisions:,} decisions"
        self.err.print(f"undid {what}; to read the files again: pyconquest-rules index")

    def answered(self, node: str, seconds: float) -> None:
        """Print one line."""
        self.out.print((f"{printable(node)} answers", "green"), f" ({seconds * 1000:.0f} ms)")

    @contextmanager
    def listening(self) -> Iterator[Emit]:
        """Print, each with its time: the start, every run of `then`, failed steps, refused peers and instances, notes."""
        with failures_to(self._print_now, warnings=self.warnings) as failures:
            yield log_to(self.err, failures)

    def _print_now(self, *parts: Part) -> None:
        self.err.print(f"{local_time()} ", *parts)

    def listened(self, health: Healthy) -> None:
        """Print the counts."""
        counts = ", ".join(f"{what} {number:,}" for what, number in health.counts.items())
        self.out.print(f"{local_time()} {health.listener}: {counts}")

    def error(self, message: str, exit_code: int) -> None:
        """Print in red on standard error. A message that begins with a position has no prefix, so that editors find it."""
        begins_with_place = re.match(r"\S[^\n:]*:\d+:\d+: ", message)
        self.err.print(("" if begins_with_place else "error: ", "bold red"), printable(message, but="\n\t"))

    def _table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        for line in table([*map(printable, columns)], rows):
            self.out.print(*line)


def _run(run: Run) -> list[str]:
    numbers = (f"{number:,}" for number in (run.done, run.unchanged, run.failed, run.blocked))
    times = (str(run.number), run.started, run.finished or "")
    return [*times, run.targets or "all", *numbers, size(run.bytes), run.ending or "killed?"]
