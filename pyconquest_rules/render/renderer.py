"""What a command can show, for people or for programs. The console and the JSON renderer each have every method."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from pyconquest_rules.answers import ActionStatus, Explained, Finding, Forgotten, Going, Indexed, Refusals
from pyconquest_rules.engine.ledger import Run
from pyconquest_rules.engine.overview import Group
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.runner import Result
from pyconquest_rules.engine.verify import Verified
from pyconquest_rules.events import Emit, Healthy
from pyconquest_rules.index.query.sql import Row


class Renderer(Protocol):
    """Data goes to standard output, all else to standard error."""

    def progress(self) -> AbstractContextManager[Emit]:
        """Takes events while something goes on."""

    def written(self, file: Path, next_step: str) -> None:
        """A file that was written for the user, and what to do next."""

    def checked(self, counts: dict[str, int]) -> None:
        """The rules are right: how many sources, sets and actions they have."""

    def indexed(self, result: Indexed) -> None:
        """What bringing the index up to date came to."""

    def refused(self, refusals: Refusals) -> None:
        """Which files could not be indexed, by reason; nothing if there are none."""

    def planned(self, plan: Plan, *, steps: bool) -> None:
        """A plan; with `steps` each step that is not unchanged."""

    def blocked(self, groups: Sequence[Group]) -> None:
        """The steps that a run left blocked, by reason and folder."""

    def findings(self, findings: Iterable[Finding]) -> None:
        """What speaks against a plan, or what is done, as a whole."""

    def applied(self, result: Result) -> None:
        """What a run did."""

    def rows(self, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
        """The rows of a query."""

    def summary(self, patients: Iterable[tuple[str | None, dict[str, int]]]) -> None:
        """Per patient the number of series of each modality."""

    def verified(
        self,
        findings: Iterable[Verified],
        vanished: Callable[[], Iterable[Finding]],
        *,
        listed: bool = False,
        last: bool = True,
    ) -> None:
        """What is not as it should be, each if `listed`, and the counts of all that was found. `last`: nothing comes after it.

        `vanished` is called at the end: the outputs that most of it is missing from.
        """

    def mending(self, counts: dict[str, int], plan: Plan, unmended: Iterable[tuple[str, str]], *, listed: bool = False) -> None:
        """The plan that mends what was counted, and what it does not mend, and why; each destination if `listed`."""

    def status(self, actions: list[ActionStatus], refusals: Refusals) -> None:
        """Where the actions stand."""

    def history(self, runs: list[Run]) -> None:
        """Earlier runs, newest first."""

    def explained(self, instances: list[Explained]) -> None:
        """All about some instances."""

    def texts(self, files: dict[str, str]) -> None:
        """Texts of files, by name."""

    def unserved(self, images: int) -> None:
        """How many images a Conquest server cannot serve, because their path is too long for it."""

    def exported(self, file: Path, rows: int) -> None:
        """A file and how many rows it got."""

    def to_forget(self, going: Going, *, files: bool) -> None:
        """What would be forgotten."""

    def forgotten(self, result: Forgotten) -> None:
        """What was forgotten."""

    def remembered(self, decisions: int) -> None:
        """How many decisions to forget something were taken back."""

    def answered(self, node: str, seconds: float) -> None:
        """A node is there, and answered after so many seconds."""

    def listening(self) -> AbstractContextManager[Emit]:
        """Takes events while a listener is at work."""

    def listened(self, health: Healthy) -> None:
        """What a listener did, now that it ended."""

    def error(self, message: str, exit_code: int) -> None:
        """Why a command ended."""
