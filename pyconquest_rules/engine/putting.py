"""Carry out the steps of an action that makes files: group by group, several in flight, each recorded when it is durable."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any, NamedTuple, Protocol

from pyconquest_rules.content import Assembled
from pyconquest_rules.disk.files import Made, Put, PutTogether, StepError, take_away
from pyconquest_rules.disk.folders import Folders
from pyconquest_rules.disk.outputs import Guard, Outputs
from pyconquest_rules.disk.removing import Removed, remove_together
from pyconquest_rules.engine.intents import part_of, part_prefix
from pyconquest_rules.engine.runner import Runner, Steps
from pyconquest_rules.steps import Mode, PutFile, RemoveFile, Step

IN_FLIGHT = 8  # groups
# The number of groups being made, and of those being placed, before the oldest is waited for.
MAKING, PLACING = 5, 2
# The number of groups that are recorded as intended in one transaction.
INTENDED = 32
# The number of files of a group, which share one wait for the disk. Their folders stay open meanwhile: IN_FLIGHT times as many
# descriptors must be allowed, and some systems allow only 256.
TOGETHER = {Mode.COPY: 8, Mode.MOVE: 8, Mode.REFLINK: 8, Mode.HARDLINK: 24, Mode.SYMLINK: 24}
REMOVED_TOGETHER = 24
LARGE = 16 << 20  # bytes: a group of this size needs no more files


@dataclass(frozen=True, slots=True)
class Putting:
    """The executor of an action that makes files. `outputs` are the folders that files may go to.

    `outcome` is the word by which a file that was made is counted.
    """

    outputs: Outputs
    outcome: str

    def do(self, action: str, steps: Steps, runner: Runner) -> None:
        """Put files; the removals come last, and only if every file was put."""
        counts = runner.result.counts
        failed = counts["failed"]
        for removes, some in groupby(steps(), lambda step: isinstance(step.operation, RemoveFile)):
            if not removes or (counts["failed"] == failed and not runner.result.interrupted):
                self._together(some, runner)
            elif not runner.result.interrupted:
                counts["blocked"] += sum(1 for _ in some)

    def _together(self, steps: Iterator[Step], runner: Runner) -> None:
        """Make and place the files of steps in their order, group by group, several in flight."""
        guard, settled = self.outputs.guard(), set[str]()
        making, placing = deque[_Group](), deque[_Group]()
        with ThreadPoolExecutor(IN_FLIGHT) as pool, ExitStack() as stack:
            stack.callback(_close, making, placing)
            for group in _intended(_groups(steps), runner):
                if runner.stopped():
                    break
                files = self._files(group, runner, settled, guard)
                making.append(_Group(group, files, pool.submit(files.make)))
                if len(making) > MAKING:
                    self._advance(making, placing, pool, runner, guard)
            while making or placing:
                self._advance(making, placing, pool, runner, guard)

    def _advance(self, making: "deque[_Group]", placing: "deque[_Group]", pool: Executor, runner: Runner, guard: Guard) -> None:
        """Record the oldest placed group, and in the same transaction what the next one is about to place."""
        outcomes: list[tuple[Step, Put | Removed | StepError]] = []
        made: list[tuple[Step, Made]] = []
        if placing and (len(placing) > PLACING or not making):
            outcomes = [*zip(placing[0].steps, placing[0].future.result(), strict=True)]
            placing.popleft()
        if making:
            pairs = zip(making[0].steps, making[0].future.result(), strict=True)
            made = [(step, each) for step, each in pairs if each is not None]
        with runner.ledger.transaction():
            if outcomes:
                runner.ledger.record(outcomes, runner.result.run)
            runner.ledger.intend_to_place(made, runner.result.run)
        if making:
            group = making.popleft()
            placing.append(_Group(group.steps, group.files, pool.submit(group.files.place)))
        self._count(outcomes, runner, guard)

    def _count(self, outcomes: list[tuple[Step, Put | Removed | StepError]], runner: Runner, guard: Guard) -> None:
        """Finish moves, and count what was done and what failed."""
        for step, outcome in outcomes:
            error = outcome if isinstance(outcome, StepError) else self._ended(step, runner, guard)
            if error is None:
                size = _size(step, outcome)
                runner.done(_outcome(step) or self.outcome, step.action, step.SOPInstanceUID, size, size if _brings(step) else 0)
            else:
                runner.failed(step.action, step.SOPInstanceUID, str(error))

    def _ended(self, step: Step, runner: Runner, guard: Guard) -> StepError | None:
        """Finish a move after the ledger has it. Return the error if that fails."""
        operation = step.operation
        if isinstance(operation, PutFile) and operation.mode is Mode.MOVE:
            try:
                take_away(operation, self.outputs, guard)
            except StepError as error:
                runner.ledger.record([(step, error)], runner.result.run)
                return error
        return None

    def _files(self, group: list[Step], runner: Runner, settled: set[str], guard: Guard) -> "_Files":
        """Return the files of a group: either all are put or all are removed."""
        name, run = runner.ledger.name, runner.result.run
        ours, ours_now = part_prefix(name), part_prefix(name, run)
        folders = Folders(self.outputs, settled, lambda name: name.startswith(ours) and not name.startswith(ours_now), guard)
        removals = [step.operation for step in group if isinstance(step.operation, RemoveFile)]
        if removals:
            return _Removals(removals, folders)
        puts = [(step.operation, part_of(name, run, step.number)) for step in group if isinstance(step.operation, PutFile)]
        return PutTogether(puts, folders)


class _Files(Protocol):
    """Files that are put or removed in two halves; `make` returns what is about to be placed."""

    def make(self) -> Sequence[Made | None]: ...

    def place(self) -> Sequence[Put | Removed | StepError]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Removals:
    """Removals. They need no preparation, because the ledger has their rows."""

    operations: list[RemoveFile]
    folders: Folders

    def make(self) -> list[None]:
        return [None] * len(self.operations)

    def place(self) -> list[Removed | StepError]:
        return remove_together(self.operations, self.folders)

    def close(self) -> None:
        pass


class _Group(NamedTuple):
    """A group whose files are being made or placed."""

    steps: list[Step]
    files: _Files
    future: Future[Any]


def _close(*groups: "deque[_Group]") -> None:
    """Delete temporary files after an error ended the run, so that the groups leave nothing behind."""
    for group in chain.from_iterable(groups):
        group.future.exception()  # waits for it
        group.files.close()


def _intended(groups: Iterator[list[Step]], runner: Runner) -> Iterator[list[Step]]:
    """Yield the groups, each after its steps are recorded as intended: many groups in one transaction."""
    while some := [*islice(groups, INTENDED)]:
        runner.ledger.intend(chain.from_iterable(some), runner.result.run)
        yield from some


def _outcome(step: Step) -> str | None:
    """Return the word by which a done step is counted if it made no file."""
    match step.operation:
        case RemoveFile(forget=True):  # no file was removed: only the ledger forgets it
            return "released"
        case RemoveFile():
            return "removed"
        case PutFile(adopt=True):
            return "adopted"
    return None


def _size(step: Step, outcome: Put | Removed | StepError) -> int:
    """Return the size of what was done. Only then is that of a file which is made of parts known."""
    match step.operation, outcome:
        case PutFile(content=Assembled()), Put(stamp=stamp):
            return stamp.size
    return step.operation.stamp.size


def _brings(step: Step) -> bool:
    """Return whether a step writes or links a file."""
    return isinstance(step.operation, PutFile) and not step.operation.adopt


def _groups(steps: Iterator[Step]) -> Iterator[list[Step]]:
    """Yield groups of consecutive steps that share one wait for the disk."""
    group, size = [], 0
    for step in steps:
        operation = step.operation
        group.append(step)
        size += operation.stamp.size
        most = TOGETHER[operation.mode] if isinstance(operation, PutFile) else REMOVED_TOGETHER
        if size >= LARGE or len(group) == most:
            yield group
            group, size = [], 0
    if group:
        yield group
