"""Doing the steps of a copy: groups of files, several in flight, each remembered in the ledger once it is durable."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any, NamedTuple, Protocol

from pyconquest_rules.disk.files import Made, Put, PutTogether, StepError, take_away
from pyconquest_rules.disk.folders import Folders
from pyconquest_rules.disk.outputs import Guard, Outputs
from pyconquest_rules.disk.removing import Removed, remove_together
from pyconquest_rules.engine.intents import part_of, part_prefix
from pyconquest_rules.engine.runner import Runner, Steps
from pyconquest_rules.steps import Mode, PutFile, RemoveFile, Step

IN_FLIGHT = 8  # groups
# So many of them are made, and so many are placed, before the oldest is waited for.
MAKING, PLACING = 5, 2
# So many groups are noted in the ledger at once.
INTENDED = 32
# Files of a group: as many as are worth one wait for the disk. Their folders are open meanwhile: IN_FLIGHT times as many
# descriptors must be allowed, and the least that systems allow is 256.
TOGETHER = {Mode.COPY: 8, Mode.MOVE: 8, Mode.REFLINK: 8, Mode.HARDLINK: 24, Mode.SYMLINK: 24}
REMOVED_TOGETHER = 24
MUCH = 16 << 20  # bytes; they make a group of fewer


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
        """Makes and places the steps in their order, group by group, a few in flight."""
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
        """Records the oldest group that is placed, with what the next one is about to place: one wait for both."""
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
        """Ends moves, and counts what was done and what failed."""
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

    def _files(self, group: list[Step], runner: Runner, settled: set[str], guard: Guard) -> "_Files":
        """The files of a group, which are all put or all removed."""
        name, run = runner.ledger.name, runner.result.run
        ours, ours_now = part_prefix(name), part_prefix(name, run)
        folders = Folders(self.outputs, settled, lambda name: name.startswith(ours) and not name.startswith(ours_now), guard)
        removals = [step.operation for step in group if isinstance(step.operation, RemoveFile)]
        if removals:
            return _Removals(removals, folders)
        puts = [(step.operation, part_of(name, run, step.number)) for step in group if isinstance(step.operation, PutFile)]
        return PutTogether(puts, folders)


class _Files(Protocol):
    """Files that are put, or removed, in two halves; `make` yields what is about to be placed."""

    def make(self) -> Sequence[Made | None]: ...

    def place(self) -> Sequence[Put | Removed | StepError]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Removals:
    """What is removed needs no preparation: the ledger has its row."""

    operations: list[RemoveFile]
    folders: Folders

    def make(self) -> list[None]:
        return [None] * len(self.operations)

    def place(self) -> list[Removed | StepError]:
        return remove_together(self.operations, self.folders)

    def close(self) -> None:
        pass


class _Group(NamedTuple):
    """Steps whose files are being made or placed."""

    steps: list[Step]
    files: _Files
    future: Future[Any]


def _close(*groups: "deque[_Group]") -> None:
    """Take away what was made but not placed, as an error ended the run; after that nothing is left in the groups."""
    for group in chain.from_iterable(groups):
        group.future.exception()  # waits for it
        group.files.close()


def _intended(groups: Iterator[list[Step]], runner: Runner) -> Iterator[list[Step]]:
    """The groups, each after the ledger has noted its steps: many groups with one wait for the disk."""
    while some := [*islice(groups, INTENDED)]:
        runner.ledger.intend(chain.from_iterable(some), runner.result.run)
        yield from some


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
