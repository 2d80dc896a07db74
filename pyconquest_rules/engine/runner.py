"""Going through the actions of a plan: which may be done, and what became of their steps."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.events import Emit, RunStarted, StepDone, StepFailed, StepsWait
from pyconquest_rules.steps import Status, Step

COUNTS = ("done", "unchanged", "failed", "blocked", "waiting", "bytes")
"""What is counted of every run. The words for what kinds of actions do come beside them; `done` is their sum."""

Steps = Callable[[], Iterator[Step]]
"""What there is to do of an action, from its first step on each time that it is asked for."""


class Work(Protocol):
    """A plan, as a run sees it."""

    def actions(self) -> list[str]:
        """The names of the actions in their order."""

    def steps(self, *, action: str, status: Status) -> Iterator[Step]:
        """The steps of an action that have a status."""

    def counts(self) -> dict[str, dict[str, int]]:
        """For each action: todo, unchanged, blocked, and the bytes that are to be done."""


class Executor(Protocol):
    """What does the steps of an action."""

    def do(self, action: str, steps: Steps, runner: "Runner") -> None:
        """Does the steps until the runner is to stop; each is remembered in its ledger, and then counted."""


@dataclass(slots=True)
class Result:
    """The result of a run: its number, the counts of steps and bytes, and the actions that failed or are blocked in part.

    Steps that wait are for a later run, as outside a window.
    """

    run: int
    counts: dict[str, int]
    interrupted: bool = False
    unsuccessful: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, outcomes: Iterable[str]) -> "Result":
        """Return the result of a run that has not begun, whose number is 0. `outcomes` are the words of the kinds."""
        done, *rest = COUNTS
        return cls(0, dict.fromkeys((done, *outcomes, *rest), 0))


@dataclass(frozen=True, slots=True)
class Runner:
    """A run: where it is remembered, who is told, whether to stop, and what it did so far.

    The result is added to: a run may be of several plans, of which each is made when the one before it is done.
    """

    ledger: Ledger
    emit: Emit
    stop: Callable[[], bool]
    result: Result

    def run(self, plan: Work, needs: Mapping[str, tuple[str, ...]], executors: Mapping[str, Executor]) -> None:
        """Does what is todo, action by action; one whose needs had a failed step is held back and counted as blocked.

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
        """Whether it is time to stop, which makes the run an interrupted one."""
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
        """Counts a step that was not done."""
        self.result.counts["failed"] += 1
        self.emit(StepFailed(action, uid, why))

    def wait(self, action: str, why: str, steps: int) -> None:
        """Notes that steps of an action are for a later run. That is no failure."""
        if steps:
            self.result.counts["waiting"] += steps
            self.emit(StepsWait(action, steps, why))
