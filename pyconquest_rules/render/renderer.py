"""The protocol of a renderer. The console and the JSON renderer each have every method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pyconquest_rules.answers import ActionStatus, Asserted, Explained, Finding, Forgotten, Going, Indexed, Refusals
from pyconquest_rules.events import Emit, Healthy

if TYPE_CHECKING:
    from pyconquest_rules.engine.overview import Group
    from pyconquest_rules.engine.plan import Plan
    from pyconquest_rules.engine.runner import Result
    from pyconquest_rules.engine.runs import Run
    from pyconquest_rules.engine.verified import Verified
    from pyconquest_rules.index.query.sql import Row


class Renderer(Protocol):
    """Prints data to standard output, and everything else to standard error."""

    def progress(self) -> AbstractContextManager[Emit]:
        """Take events while a use case runs."""

    def written(self, file: Path, next_step: str) -> None:
        """Show a file that was written for the user, and the next command."""

    def checked(self, counts: dict[str, int]) -> None:
        """Show that the rules are valid, with the numbers of sources, sets, actions, expectations and releases."""

    def indexed(self, result: Indexed) -> None:
        """Show the result of an update of the index."""

    def refused(self, refusals: Refusals) -> None:
        """Show the number of files that could not be indexed, by reason; nothing if there are none."""

    def planned(self, plan: Plan, *, steps: bool) -> None:
        """Show a plan; with `steps` also each step that is not unchanged."""

    def asserted(self, results: Sequence[Asserted], *, listed: bool = False) -> None:
        """Show the results of expectations; with `listed` also the first rows that should not be there."""

    def blocked(self, groups: Sequence[Group]) -> None:
        """Show the blocked steps of a run, by reason and folder."""

    def findings(self, findings: Iterable[Finding]) -> None:
        """Show the findings about a plan or a run as a whole."""

    def applied(self, result: Result) -> None:
        """Show the result of a run."""

    def rows(self, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
        """Show the rows of a query."""

    def summary(self, patients: Iterable[tuple[str | None, dict[str, int]]]) -> None:
        """Show the number of series of each modality per patient."""

    def verified(
        self,
        findings: Iterable[Verified],
        vanished: Callable[[], Iterable[Finding]],
        *,
        listed: bool = False,
        last: bool = True,
    ) -> None:
        """Show the findings, each if `listed`. `last`: no other output follows.

        `vanished` is called at the end and returns the outputs that lack most of their files.
        """

    def mending(self, counts: dict[str, int], plan: Plan, unmended: Iterable[tuple[str, str]], *, listed: bool = False) -> None:
        """Show the plan of repairs, and the destinations that it does not repair, with reasons; each if `listed`."""

    def status(self, actions: list[ActionStatus], refusals: Refusals, asserted: Sequence[Asserted]) -> None:
        """Show the state of the actions, and the results of expectations."""

    def history(self, runs: list[Run]) -> None:
        """Show earlier runs, newest first."""

    def explained(self, instances: list[Explained]) -> None:
        """Explain some instances."""

    def texts(self, files: dict[str, str]) -> None:
        """Show the texts of files, by name."""

    def unserved(self, images: int) -> None:
        """Show the number of images whose path is too long for a Conquest server."""

    def exported(self, file: Path, rows: int) -> None:
        """Show a file and its number of rows."""

    def to_forget(self, going: Going, *, files: bool) -> None:
        """Show what would be forgotten."""

    def forgotten(self, result: Forgotten) -> None:
        """Show what was forgotten."""

    def remembered(self, decisions: int) -> None:
        """Show the number of decisions that were undone."""

    def answered(self, node: str, seconds: float) -> None:
        """Show that a node answered after so many seconds."""

    def listening(self) -> AbstractContextManager[Emit]:
        """Take events while a listener runs."""

    def listened(self, health: Healthy) -> None:
        """Show the counts of a listener that ended."""

    def error(self, message: str, exit_code: int) -> None:
        """Show the error that ended a command."""
