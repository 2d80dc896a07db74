"""Doing the steps of a plan: several files in flight, each remembered in the ledger once it is durable."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from pyconquest_rules.events import Emit, RunStarted, StepDone, StepFailed
from pyconquest_rules.execute.files import Put, StepError, put, take_away
from pyconquest_rules.execute.folders import sweep
from pyconquest_rules.execute.ledger import Ledger
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.steps import Mode, Status, Step

IN_FLIGHT = 8


class Work(Protocol):
    """A plan, as a run sees it."""

    def actions(self) -> list[str]:
        """The names of the actions in their order."""

    def steps(self, *, action: str, status: Status) -> Iterator[Step]:
        """The steps of an action that have a status."""

    def counts(self) -> dict[str, dict[str, int]]:
        """For each action: todo, unchanged, blocked, and the bytes that are to be done."""


@dataclass(slots=True)
class Result:
    """What a run did: counts of steps, bytes, and its number."""

    run: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("done", "unchanged", "failed", "blocked", "bytes"), 0))
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Runner:
    """What a run needs: where files may go, where it is remembered, who is told, and whether to stop."""

    outputs: Outputs
    ledger: Ledger
    emit: Emit
    stop: Callable[[], bool]

    def run(self, plan: Work, needs: Mapping[str, tuple[str, ...]], targets: str) -> Result:
        """Does what is todo, action by action; one whose needs had a failed step is held back and counted as blocked.

        When `stop` says so, the files in flight come to their end and are recorded, and no other is begun.
        """
        counts = plan.counts()
        result = Result(self.ledger.begin(targets))
        for of in counts.values():
            result.counts["unchanged"] += of["unchanged"]
            result.counts["blocked"] += of["blocked"]
        self.emit(RunStarted(result.run, sum(of["todo"] for of in counts.values()), sum(of["bytes"] for of in counts.values())))
        unwell: set[str] = set()
        for action in plan.actions():
            if unwell & set(needs.get(action, ())):
                result.counts["blocked"] += counts[action]["todo"]
                unwell.add(action)
            elif not self._action(plan.steps(action=action, status=Status.TODO), result):
                unwell.add(action)
        self.ledger.finish(result.run, result.counts, "interrupted" if result.interrupted else "done")
        return result

    def _action(self, steps: Iterator[Step], result: Result) -> bool:
        """Whether every step went well."""
        failed = result.counts["failed"]
        for step, future in self._begun(steps, result):
            self._note(step, future, result)
        return result.counts["failed"] == failed

    def _note(self, step: Step, future: Future[Put], result: Result) -> None:
        operation = step.operation
        try:
            self.ledger.record(step, future.result(), result.run)
            if operation.mode is Mode.MOVE:
                take_away(operation, self.outputs)
        except StepError as error:
            self.ledger.record_failure(step, str(error), result.run)
            result.counts["failed"] += 1
            self.emit(StepFailed(step.action, step.SOPInstanceUID, str(error)))
        else:
            result.counts["done"] += 1
            result.counts["bytes"] += 0 if operation.adopt else operation.stamp.size
            self.emit(StepDone(step.action, step.SOPInstanceUID, operation.stamp.size))

    def _begun(self, steps: Iterator[Step], result: Result) -> Iterator[tuple[Step, Future[Put]]]:
        """The steps in their order, each begun, a few in flight."""
        running: deque[tuple[Step, Future[Put]]] = deque()
        prefix = f".pyconquest-rules-{self.ledger.name}-"
        swept: set[str] = set()
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            for step in steps:
                if self.stop():
                    result.interrupted = True
                    break
                folder = step.operation.destination.rpartition("/")[0]
                if folder not in swept:
                    sweep(self.outputs, folder, prefix)
                    swept.add(folder)
                running.append((step, pool.submit(put, step.operation, self.outputs, f"{prefix}{step.number}.part")))
                if len(running) > IN_FLIGHT:
                    yield running.popleft()
            yield from running
