"""`--quiet`, for cron: print nothing on success, and the cause of an exit code other than 0 on standard error.

Requested rows are not a report: `query`, `find`, `history` and similar commands print them as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pyconquest_rules.answers import ActionStatus, Asserted, Forgotten, Indexed, Refusals
from pyconquest_rules.answers import Finding as Against
from pyconquest_rules.engine.verified import Finding, Verified
from pyconquest_rules.events import Emit, Event, Healthy, InstanceNoted, Listens, Ran
from pyconquest_rules.render.console import Console
from pyconquest_rules.render.failures import failures_to

if TYPE_CHECKING:
    from pyconquest_rules.engine.overview import Group
    from pyconquest_rules.engine.plan import Plan
    from pyconquest_rules.engine.runner import Result


class Quiet(Console):
    """The renderer of `--quiet`: the console without messages of success."""

    warnings = False

    @contextmanager
    def progress(self) -> Iterator[Emit]:
        """Print failed steps."""
        with failures_to(self.err.print, warnings=self.warnings) as failures:
            yield failures.take

    def written(self, file: Path, next_step: str) -> None:
        """Print nothing."""

    def checked(self, counts: dict[str, int], commands: Mapping[str, tuple[str, ...]]) -> None:
        """Print nothing."""

    def indexed(self, result: Indexed) -> None:
        """Print the reasons of files that could not be indexed."""
        self.refused(result.refusals)

    def planned(self, plan: Plan, *, steps: bool) -> None:
        """Print the plan if steps are blocked, if expectations failed, or if it has findings."""
        if plan.findings or any(each.failed for each in plan.asserted) or any(of["blocked"] for of in plan.counts().values()):
            self.out = self.err
            super().planned(plan, steps=False)

    def asserted(self, results: Sequence[Asserted], *, listed: bool = False) -> None:
        """Print those that failed on standard error."""
        self.out = self.err
        super().asserted([each for each in results if each.failed], listed=listed)

    def blocked(self, groups: Sequence[Group]) -> None:
        """Print blocked steps on standard error."""
        self.out = self.err
        super().blocked(groups)

    def applied(self, result: Result) -> None:
        """Print the counts of a run if steps failed or were blocked, or if it was interrupted."""
        if result.interrupted or result.counts["failed"] or result.counts["blocked"]:
            super().applied(result)

    def verified(
        self,
        findings: Iterable[Verified],
        vanished: Callable[[], Iterable[Against]],
        *,
        listed: bool = False,
        last: bool = True,
    ) -> None:
        """Print the findings, if there are any, and a possible cause."""
        counts = self._found(findings, self.err if listed else None)
        if any(counts[finding] for finding in Finding if finding is not Finding.OK):
            self._counted(counts, listed)
        self.findings(vanished())

    def mending(self, counts: dict[str, int], plan: Plan, unmended: Iterable[tuple[str, str]], *, listed: bool = False) -> None:
        """Print the plan, if there is anything to repair."""
        if any(counts[finding] for finding in Finding if finding is not Finding.OK):
            self.out = self.err
            super().mending(counts, plan, unmended, listed=listed)

    def status(self, actions: list[ActionStatus], refusals: Refusals, asserted: Sequence[Asserted]) -> None:
        """Print the actions with failed or blocked steps, and the expectations that failed."""
        self.out = self.err
        if troubled := [action for action in actions if action.failed or action.blocked]:
            super().status(troubled, refusals, asserted)
        else:
            self.asserted(asserted)

    def exported(self, file: Path, rows: int) -> None:
        """Print nothing."""

    def forgotten(self, result: Forgotten) -> None:
        """Print the number of files that could not be deleted."""
        if result.failed:
            super().forgotten(result)

    def answered(self, node: str, seconds: float) -> None:
        """Print nothing."""

    @contextmanager
    def listening(self) -> Iterator[Emit]:
        """Print refusals and failures, with their time."""
        with super().listening() as emit:

            def take(event: Event) -> None:
                match event:
                    case Listens() | Healthy() | InstanceNoted():
                        return
                    case Ran(counts) if not (counts["failed"] or counts["blocked"]):
                        return
                emit(event)

            yield take

    def listened(self, health: Healthy) -> None:
        """Print nothing."""
