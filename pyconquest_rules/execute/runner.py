"""Doing the steps of a plan: groups of files, several in flight, each remembered in the ledger once it is durable."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from pyconquest_rules.events import Emit, RunStarted, StepDone, StepFailed, StepsWait
from pyconquest_rules.execute.confirming import Asking, confirmations, unconfirmed
from pyconquest_rules.execute.files import Put, StepError, put_together, take_away
from pyconquest_rules.execute.folders import Folders
from pyconquest_rules.execute.ledger import Ledger
from pyconquest_rules.execute.removing import Removed, remove_together
from pyconquest_rules.execute.retrievals import Retrieving, retrieved
from pyconquest_rules.execute.transfers import Sending, transferred
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.steps import Mode, Operation, PutFile, RemoveFile, SendInstance, Status, Step

IN_FLIGHT = 8  # groups
# Files of a group: as many as are worth one wait for the disk. Their folders are open meanwhile: IN_FLIGHT times as many
# descriptors must be allowed, and the least that systems allow is 256.
TOGETHER = {Mode.COPY: 8, Mode.MOVE: 8, Mode.REFLINK: 8, Mode.HARDLINK: 24, Mode.SYMLINK: 24}
REMOVED_TOGETHER = 24
MUCH = 16 << 20  # bytes; they make a group of fewer

Outcomes = Future[list[Put | Removed | StepError]]


COUNTS = ("done", "unchanged", "failed", "blocked", "waiting", "bytes")


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
    """What a run did: its number, counts of steps, bytes, and the actions of which not all could be done.

    Steps that wait are for a later run, as outside a window.
    """

    run: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
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
        waiting: set[str] = set()
        for action in plan.actions():
            if result.unwell & set(needs.get(action, ())):
                result.counts["blocked"] += counts[action]["todo"]
                result.unwell.add(action)
            elif behind := waiting & set(needs.get(action, ())):
                self._wait(action, f"{min(behind)}, which it needs, waits", counts[action]["todo"], result)
                waiting.add(action)
            else:
                before = dict(result.counts)
                if action in self.sendings:
                    self._send(action, plan, self.sendings[action], result)
                elif action in self.retrievings:
                    steps = plan.steps(action=action, status=Status.TODO)
                    self._retrieve(action, steps, self.retrievings[action], result)
                else:
                    self._files(plan.steps(action=action, status=Status.TODO), result)
                if result.counts["failed"] > before["failed"] or counts[action]["blocked"]:
                    result.unwell.add(action)
                if result.counts["waiting"] > before["waiting"]:
                    waiting.add(action)

    def _retrieve(self, action: str, steps: Iterator[Step], retrieving: Retrieving, result: Result) -> None:
        for outcomes in retrieved(steps, retrieving, self.stop):
            self.ledger.record_retrieved(action, ((step, message) for step, _, message in outcomes), result.run)
            for step, size, message in outcomes:
                self._note(step, None if message is None else StepError(message), result)
                result.counts["bytes"] += size
        result.interrupted = result.interrupted or self.stop()

    def _send(self, action: str, plan: Work, sending: Sending, result: Result) -> None:
        told, stored = 0, 0
        if sending.is_open() and not self.stop():
            for answers in transferred(_to_send(plan, action), sending, lambda: self.stop() or not sending.is_open()):
                self.ledger.record_sent(
                    ((step, sent.status if sent.stored else None, sent.message) for step, sent in answers), result.run
                )
                for step, sent in answers:
                    self._note(step, None if sent.stored else StepError(sent.message or "no answer"), result, sent.message)
                told, stored = told + len(answers), stored + sum(sent.stored for _, sent in answers)
        result.interrupted = result.interrupted or self.stop()
        if sending.window is not None and not result.interrupted:
            self._wait(action, f"outside its window {sending.window}", sum(1 for _ in _to_send(plan, action)) - told, result)
        if sending.asking is not None and not result.interrupted:
            node = sending.node.identity
            self._confirm(action, node, sending.asking, (step.SOPInstanceUID for step in _sent(plan, action)), result, steps=True)
            if stored and not result.interrupted:
                uids = self.ledger.unconfirmed(node, action, result.run)
                self._confirm(action, node, sending.asking, uids, result, steps=False)

    def _confirm(self, action: str, node: str, asking: Asking, uids: Iterator[str], result: Result, *, steps: bool) -> None:
        """Asks a node for what it took. `steps`: that is what there is to do; else it was sent, and counted, by this run."""
        for some, confirmation in confirmations(uids, asking, self.stop):
            self.ledger.confirm(node, confirmation.there)
            self.ledger.lose(node, action, {uid: confirmation.why[uid] for uid in confirmation.gone}, result.run)
            for uid in confirmation.there if steps else ():
                result.counts["done"] += 1
                self.emit(StepDone(action, uid, 0))
            for uid, why in unconfirmed(some, confirmation):
                result.counts["failed"] += 1
                self.emit(StepFailed(action, uid, why))
            if self.stop():
                result.interrupted = True
                break

    def _wait(self, action: str, why: str, steps: int, result: Result) -> None:
        """Notes that steps of an action are for a later run. That is no failure."""
        if steps:
            result.counts["waiting"] += steps
            self.emit(StepsWait(action, steps, why))

    def _files(self, steps: Iterator[Step], result: Result) -> None:
        """Puts what is to be put, and only where all of that went well removes what is to be removed, which comes after it."""
        failed = result.counts["failed"]
        for removes, some in groupby(steps, lambda step: isinstance(step.operation, RemoveFile)):
            if not removes or (result.counts["failed"] == failed and not result.interrupted):
                self._together(some, result)
            elif not result.interrupted:
                result.counts["blocked"] += sum(1 for _ in some)

    def _together(self, steps: Iterator[Step], result: Result) -> None:
        for group, future in self._begun(steps, result):
            outcomes = [*zip(group, future.result(), strict=True)]
            self.ledger.record(outcomes, result.run)
            for step, outcome in outcomes:
                match outcome:
                    case Put():
                        self._note(step, self._ended(step, result.run), result)
                    case Removed():
                        self._note(step, None, result)
                    case StepError():
                        self._note(step, outcome, result)

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

    def _begun(self, steps: Iterator[Step], result: Result) -> Iterator[tuple[list[Step], Outcomes]]:
        """The steps in their order, group by group, each begun, a few in flight."""
        running: deque[tuple[list[Step], Outcomes]] = deque()
        ours = f".pyconquest-rules-{self.ledger.name}-"
        part = f"{ours}{result.run}-"
        settled: set[str] = set()
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            for group in _groups(steps):
                if self.stop():
                    result.interrupted = True
                    break
                named = [(step.operation, f"{part}{step.number}.part") for step in group]
                puts = [(put, name) for put, name in named if isinstance(put, PutFile)]
                removals = [removal for removal, _ in named if isinstance(removal, RemoveFile)]
                folders = Folders(self.outputs, settled, lambda name: name.startswith(ours) and not name.startswith(part))
                running.append((group, pool.submit(_done_together, puts, removals, folders)))
                if len(running) > IN_FLIGHT:
                    yield running.popleft()
            yield from running


def _done_together(
    puts: list[tuple[PutFile, str]], removals: list[RemoveFile], folders: Folders
) -> list[Put | Removed | StepError]:
    """Does a group, which is of one or the other."""
    return [*put_together(puts, folders)] if puts else [*remove_together(removals, folders)]


def _to_send(plan: Work, action: str) -> Iterator[Step]:
    """The steps of an action that are to be sent."""
    return (step for step in plan.steps(action=action, status=Status.TODO) if not _only_to_confirm(step))


def _sent(plan: Work, action: str) -> Iterator[Step]:
    """The steps of an action that were sent by an earlier run, and are only to be confirmed."""
    return filter(_only_to_confirm, plan.steps(action=action, status=Status.TODO))


def _only_to_confirm(step: Step) -> bool:
    return isinstance(step.operation, SendInstance) and step.operation.sent


def _moved(operation: Operation) -> int:
    """How many bytes an operation brings to its place."""
    match operation:
        case PutFile(adopt=True) | SendInstance(sent=True) | RemoveFile():
            return 0
    return operation.stamp.size


def _groups(steps: Iterator[Step]) -> Iterator[list[Step]]:
    """Steps that follow each other, as many as are worth one wait for the disk."""
    group, size = [], 0
    for step in steps:
        operation = step.operation
        group.append(step)
        size += operation.stamp.size
        most = TOGETHER[operation.mode] if isinstance(operation, PutFile) else REMOVED_TOGETHER
        if size >= MUCH or len(group) == most:
            yield group
            group, size = [], 0
    if group:
        yield group
