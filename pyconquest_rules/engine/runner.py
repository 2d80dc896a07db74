"""Running a plan: which actions may be done, and the outcomes of their steps."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

from pyconquest_rules.answers import Asserted
from pyconquest_rules.events import Emit, RunStarted, StepDone, StepFailed, StepsWait
from pyconquest_rules.steps import Status, Step

if TYPE_CHECKING:
    from pyconquest_rules.engine.ledger import Ledger

COUNTS = ("done", "unchanged", "failed", "blocked", "waiting", "bytes")
"""The counts of every run. The outcomes of the kinds are counted beside them; `done` is their sum."""

Steps = Callable[[], Iterator[Step]]
"""The steps of an action that are todo; each call starts at the first one."""


class Work(Protocol):
    """What a run needs of a plan."""

    def actions(self) -> list[str]:
        """Return the names of the actions in their order."""

    def steps(self, *, action: str, status: Status) -> Iterator[Step]:
        """Return the steps of an action that have a status."""

    def counts(self) -> dict[str, dict[str, int]]:
        """Return for each action the number of steps by status, and the bytes of those that are todo."""


class Executor(Protocol):
    """Carries out the steps of an action."""

    def do(self, action: str, steps: Steps, runner: "Runner") -> None:
        """Carry out steps until the runner stops. Record each in the ledger, then count it."""


@dataclass(slots=True)
class Result:
    """The result of a run: its number, the counts of steps and bytes, and the actions that failed or are blocked in part.

    Steps that wait are for a later run, as outside a window. `asserted` has the results of assertions.
    """

    run: int
    counts: dict[str, int]
    interrupted: bool = False
    unsuccessful: set[str] = field(default_factory=set)
    asserted: list[Asserted] = field(default_factory=list)

    @classmethod
    def of(cls, outcomes: Iterable[str]) -> "Result":
        """Return the result of a run that has not begun, whose number is 0. `outcomes` are the words of the kinds."""
        done, *rest = COUNTS
        return cls(0, dict.fromkeys((done, *outcomes, *rest), 0))


@dataclass(frozen=True, slots=True)
class Runner:
    """A run: its ledger, who gets its events, whether to stop, and its result so far.

    A run may be of several plans, each made when the one before it is done; the result is their sum.
    """

    ledger: "Ledger"
    emit: Emit
    stop: Callable[[], bool]
    result: Result

    def run(self, plan: Work, needs: Mapping[str, tuple[str, ...]], executors: Mapping[str, Executor]) -> None:
        """Carry out what is todo, action by action. An action that needs one with a failed step is counted as blocked.

        When `stop` says so, the files in flight come to their end and are recorded, and no other is begun. That the run came to
        its end is for the caller to note in the ledger.
        """
        counts, result = plan.counts(), self.result.counts
        for of in counts.values():
            result["unchanged"] += of["unchanged"]
            result["blocked"] += of["blocked"]
        todo, size = (sum(of[what] for of in counts.values()) for what in ("todo", "bytes"))
        self.emit(RunStarted(self.result.run, todo, size))
        waiting: set[str] = set()
        for action in plan.actions():
            needed = {*needs.get(action, ())}
            if self.result.unsuccessful & needed:
                result["blocked"] += counts[action]["todo"]
                self.result.unsuccessful.add(action)
            elif behind := waiting & needed:
                self.wait(action, f"{min(behind)}, which it needs, waits", counts[action]["todo"])
                waiting.add(action)
            else:
                before = dict(result)
                executors[action].do(action, partial(plan.steps, action=action, status=Status.TODO), self)
                if result["failed"] > before["failed"] or counts[action]["blocked"]:
                    self.result.unsuccessful.add(action)
                if result["waiting"] > before["waiting"]:
                    waiting.add(action)

    def stopped(self) -> bool:
        """Return whether to stop, which makes this an interrupted run."""
        self.result.interrupted = self.result.interrupted or self.stop()
        return self.result.interrupted

    def done(self, outcome: str, action: str, uid: str, size: int, brought: int, warning: str | None = None) -> None:
        """Count a step that was done, by the word `outcome` of its kind, and the bytes that it brought to their destination.

        `size` is that of the instance, in bytes.
        """
        self.result.counts["done"] += 1
        self.result.counts[outcome] += 1
        self.result.counts["bytes"] += brought
        self.emit(StepDone(action, uid, size, warning))

    def failed(self, action: str, uid: str, why: str) -> None:
        """Count a step that failed."""
        self.result.counts["failed"] += 1
        self.emit(StepFailed(action, uid, why))

    def wait(self, action: str, why: str, steps: int) -> None:
        """Count steps of an action that wait for a later run. They have not failed."""
        if steps:
            self.result.counts["waiting"] += steps
            self.emit(StepsWait(action, steps, why))
