"""Doing the steps of a copy: groups of files, several in flight, each remembered in the ledger once it is durable."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

from pyconquest_rules.execute.files import Put, StepError, put_together, take_away
from pyconquest_rules.execute.folders import Folders
from pyconquest_rules.execute.removing import Removed, remove_together
from pyconquest_rules.execute.runner import Runner, Steps
from pyconquest_rules.outputs import Guard, Outputs
from pyconquest_rules.steps import Mode, PutFile, RemoveFile, Step

IN_FLIGHT = 8  # groups
# Files of a group: as many as are worth one wait for the disk. Their folders are open meanwhile: IN_FLIGHT times as many
# descriptors must be allowed, and the least that systems allow is 256.
TOGETHER = {Mode.COPY: 8, Mode.MOVE: 8, Mode.REFLINK: 8, Mode.HARDLINK: 24, Mode.SYMLINK: 24}
REMOVED_TOGETHER = 24
MUCH = 16 << 20  # bytes; they make a group of fewer

Outcomes = list[Put | Removed | StepError]


@dataclass(frozen=True, slots=True)
class Copying:
    """What an action that copies needs: where files may go."""

    outputs: Outputs

    def do(self, action: str, steps: Steps, runner: Runner) -> None:
        """Puts what is to be put, and only where all of that went well removes what is to be removed, which comes after it."""
        counts = runner.result.counts
        failed = counts["failed"]
        for removes, some in groupby(steps(), lambda step: isinstance(step.operation, RemoveFile)):
            if not removes or (counts["failed"] == failed and not runner.result.interrupted):
                self._together(some, runner)
            elif not runner.result.interrupted:
                counts["blocked"] += sum(1 for _ in some)

    def _together(self, steps: Iterator[Step], runner: Runner) -> None:
        guard = self.outputs.guard()
        for group, future in self._begun(steps, runner, guard):
            outcomes = [*zip(group, future.result(), strict=True)]
            runner.ledger.record(outcomes, runner.result.run)
            for step, outcome in outcomes:
                error = outcome if isinstance(outcome, StepError) else self._ended(step, runner, guard)
                if error is None:
                    size = step.operation.stamp.size
                    runner.done(_kind(step), step.action, step.SOPInstanceUID, size, size if _brings(step) else 0)
                else:
                    runner.failed(step.action, step.SOPInstanceUID, str(error))

    def _ended(self, step: Step, runner: Runner, guard: Guard) -> StepError | None:
        """Does what is left of a move once the ledger knows, and gives what went wrong."""
        operation = step.operation
        if isinstance(operation, PutFile) and operation.mode is Mode.MOVE:
            try:
                take_away(operation, self.outputs, guard)
            except StepError as error:
                runner.ledger.record([(step, error)], runner.result.run)
                return error
        return None

    def _begun(self, steps: Iterator[Step], runner: Runner, guard: Guard) -> Iterator[tuple[list[Step], Future[Outcomes]]]:
        """The steps in their order, group by group, each begun, a few in flight."""
        running: deque[tuple[list[Step], Future[Outcomes]]] = deque()
        ours = f".pyconquest-rules-{runner.ledger.name}-"
        part = f"{ours}{runner.result.run}-"
        settled: set[str] = set()
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            for group in _groups(steps):
                if runner.stopped():
                    break
                named = [(step.operation, f"{part}{step.number}.part") for step in group]
                puts = [(put, name) for put, name in named if isinstance(put, PutFile)]
                removals = [removal for removal, _ in named if isinstance(removal, RemoveFile)]
                folders = Folders(self.outputs, settled, lambda name: name.startswith(ours) and not name.startswith(part), guard)
                running.append((group, pool.submit(_done_together, puts, removals, folders)))
                if len(running) > IN_FLIGHT:
                    yield running.popleft()
            yield from running


def _done_together(puts: list[tuple[PutFile, str]], removals: list[RemoveFile], folders: Folders) -> Outcomes:
    """Does a group, which is of one or the other."""
    return [*put_together(puts, folders)] if puts else [*remove_together(removals, folders)]


def _kind(step: Step) -> str:
    """As what a step counts that was done."""
    match step.operation:
        case RemoveFile(forget=True):  # nothing was removed: the ledger lets go of it
            return "released"
        case RemoveFile():
            return "removed"
        case PutFile(adopt=True):
            return "adopted"
    return "copied"


def _brings(step: Step) -> bool:
    """Whether a step brings bytes to their place."""
    return isinstance(step.operation, PutFile) and not step.operation.adopt


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
