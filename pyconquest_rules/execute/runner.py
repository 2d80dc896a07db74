"""Doing the steps of a plan: groups of files, several in flight, each remembered in the ledger once it is durable."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from pyconquest_rules.events import Emit, RunStarted, StepDone, StepFailed
from pyconquest_rules.execute.files import Put, StepError, put_together, take_away
from pyconquest_rules.execute.folders import Folders
from pyconquest_rules.execute.ledger import Ledger
from pyconquest_rules.execute.retrievals import Retrieving, retrieved
from pyconquest_rules.execute.transfers import Sending, transferred
from pyconquest_rules.network.node import NodeError
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.steps import Mode, Operation, PutFile, SendInstance, Status, Step

IN_FLIGHT = 8  # groups
# Files of a group: as many as are worth one wait for the disk. Their folders are open meanwhile: IN_FLIGHT times as many
# descriptors must be allowed, and the least that systems allow is 256.
TOGETHER = {Mode.COPY: 8, Mode.MOVE: 8, Mode.REFLINK: 8, Mode.HARDLINK: 24, Mode.SYMLINK: 24}
MUCH = 16 << 20  # bytes; they make a group of fewer


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
    """What a run did: its number, counts of steps, bytes, and the actions of which not all could be done."""

    run: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("done", "unchanged", "failed", "blocked", "bytes"), 0))
    interrupted: bool = False
    unwell: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Runner:
    """What a run needs: where files may go, where it is remembered, who is told, and whether to stop."""

    outputs: Outputs
    ledger: Ledger
    emit: Emit
    stop: Callable[[], bool]
    sendings: Mapping[str, Sending] = field(default_factory=dict)
    retrievings: Mapping[str, Retrieving] = field(default_factory=dict)

    def run(self, plan: Work, needs: Mapping[str, tuple[str, ...]], result: Result) -> None:
        """Does what is todo, action by action; one whose needs had a failed step is held back and counted as blocked.

        `result` is added to: a run may be of several plans, of which each is made when the one before it is done. When `stop`
        says so, the files in flight come to their end and are recorded, and no other is begun. That the run came to its end is
        for the caller to note in the ledger.
        """
        counts = plan.counts()
        for of in counts.values():
            result.counts["unchanged"] += of["unchanged"]
            result.counts["blocked"] += of["blocked"]
        self.emit(RunStarted(result.run, sum(of["todo"] for of in counts.values()), sum(of["bytes"] for of in counts.values())))
        for action in plan.actions():
            if result.unwell & set(needs.get(action, ())):
                result.counts["blocked"] += counts[action]["todo"]
                result.unwell.add(action)
            else:
                steps, failed = plan.steps(action=action, status=Status.TODO), result.counts["failed"]
                if action in self.sendings:
                    self._send(action, steps, self.sendings[action], result)
                elif action in self.retrievings:
                    self._retrieve(action, steps, self.retrievings[action], result)
                else:
                    self._put(steps, result)
                if result.counts["failed"] > failed or counts[action]["blocked"]:
                    result.unwell.add(action)

    def _retrieve(self, action: str, steps: Iterator[Step], retrieving: Retrieving, result: Result) -> None:
        for outcomes in retrieved(steps, retrieving, self.stop):
            self.ledger.record_retrieved(action, ((step, message) for step, _, message in outcomes), result.run)
            for step, size, message in outcomes:
                self._note(step, None if message is None else StepError(message), result)
                result.counts["bytes"] += size
        result.interrupted = result.interrupted or self.stop()

    def _send(self, action: str, steps: Iterator[Step], sending: Sending, result: Result) -> None:
        sent_before: set[str] = set()
        for answers in transferred(_to_send(steps, sent_before), sending, self.stop):
            self.ledger.record_sent(
                ((step, sent.status if sent.stored else None, sent.message) for step, sent in answers), result.run
            )
            for step, sent in answers:
                self._note(step, None if sent.stored else StepError(sent.message or "no answer"), result, sent.message)
        result.interrupted = result.interrupted or self.stop()
        if sending.present is not None and not result.interrupted:
            self._confirm(action, sending, sending.present, sent_before, result)

    def _confirm(
        self, action: str, sending: Sending, present: Callable[[list[str]], set[str]], sent_before: set[str], result: Result
    ) -> None:
        """Asks the node for what it took: an answer to C-STORE is not yet a place in an archive."""
        node = sending.node.identity
        for uids in self.ledger.unconfirmed(node, action):
            try:
                there, why = present(uids), "the node took it, but does not find it (C-FIND); the next run asks again"
            except NodeError as error:
                there, why = set(), str(error)
            self.ledger.confirm(node, there)
            result.counts["done"] += len(there & sent_before)
            for uid in uids:
                if uid not in there:
                    result.counts["failed"] += 1
                    self.emit(StepFailed(action, uid, why))

    def _put(self, steps: Iterator[Step], result: Result) -> None:
        for group, future in self._begun(steps, result):
            outcomes = [*zip(group, future.result(), strict=True)]
            self.ledger.record(outcomes, result.run)
            for step, outcome in outcomes:
                self._note(step, self._ended(step, result.run) if isinstance(outcome, Put) else outcome, result)

    def _ended(self, step: Step, run: int) -> StepError | None:
        """Does what is left of a move once the ledger knows, and gives what went wrong."""
        operation = step.operation
        if isinstance(operation, PutFile) and operation.mode is Mode.MOVE:
            try:
                take_away(operation, self.outputs)
            except StepError as error:
                self.ledger.record([(step, error)], run)
                return error
        return None

    def _note(self, step: Step, error: StepError | None, result: Result, warning: str | None = None) -> None:
        if error is not None:
            result.counts["failed"] += 1
            self.emit(StepFailed(step.action, step.SOPInstanceUID, str(error)))
        else:
            result.counts["done"] += 1
            result.counts["bytes"] += _moved(step.operation)
            self.emit(StepDone(step.action, step.SOPInstanceUID, step.operation.stamp.size, warning))

    def _begun(self, steps: Iterator[Step], result: Result) -> Iterator[tuple[list[Step], Future[list[Put | StepError]]]]:
        """The steps in their order, group by group, each begun, a few in flight."""
        running: deque[tuple[list[Step], Future[list[Put | StepError]]]] = deque()
        ours = f".pyconquest-rules-{self.ledger.name}-"
        part = f"{ours}{result.run}-"
        settled: set[str] = set()
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            for group in _groups(steps):
                if self.stop():
                    result.interrupted = True
                    break
                puts = ((step.operation, f"{part}{step.number}.part") for step in group)
                operations = [(put, name) for put, name in puts if isinstance(put, PutFile)]
                folders = Folders(self.outputs, settled, lambda name: name.startswith(ours) and not name.startswith(part))
                running.append((group, pool.submit(put_together, operations, folders)))
                if len(running) > IN_FLIGHT:
                    yield running.popleft()
            yield from running


def _to_send(steps: Iterator[Step], sent_before: set[str]) -> Iterator[Step]:
    """The steps that are to be sent; of those that are only to be confirmed the SOPInstanceUIDs go into `sent_before`."""
    for step in steps:
        match step.operation:
            case SendInstance(sent=True):
                sent_before.add(step.SOPInstanceUID)
            case _:
                yield step


def _moved(operation: Operation) -> int:
    """How many bytes an operation brings to its place."""
    match operation:
        case PutFile(adopt=True) | SendInstance(sent=True):
            return 0
    return operation.stamp.size


def _groups(steps: Iterator[Step]) -> Iterator[list[Step]]:
    """Steps that follow each other, as many as are worth one wait for the disk."""
    group, size = [], 0
    for step in steps:
        operation = step.operation
        group.append(step)
        size += operation.stamp.size
        if size >= MUCH or (isinstance(operation, PutFile) and len(group) == TOGETHER[operation.mode]):
            yield group
            group, size = [], 0
    if group:
        yield group
