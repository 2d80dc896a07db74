"""Run the command of each group once, and hand its outputs to whatever puts them at their destinations."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import BoundedSemaphore, Lock

from pyconquest_rules.content import Assembled, Assembler, NotTransformed, Part
from pyconquest_rules.disk import state_folder
from pyconquest_rules.disk.hashing import hashed, open_file
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.disk.sources import Changed
from pyconquest_rules.engine.putting import IN_FLIGHT, Putting
from pyconquest_rules.engine.runner import Runner, Steps
from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.events import Noted
from pyconquest_rules.kinds.convert import work
from pyconquest_rules.kinds.convert.groups import ByDigest, Program
from pyconquest_rules.kinds.convert.rule import Convert
from pyconquest_rules.kinds.convert.running import Command, Limits, Stopped, run
from pyconquest_rules.steps import PutFile

WORK, LOGS = "work", "logs"
TAIL = 1 << 16  # bytes of what a command printed, which are kept if it failed
KEPT = IN_FLIGHT
"""Groups whose outputs are kept for a while: the outputs of a group are put one soon after the other."""

# Not the user's: the same everywhere. SOURCE_DATE_EPOCH is 1980-01-01, the earliest time that zip files can have.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "SOURCE_DATE_EPOCH": "315532800"}


@dataclass(slots=True)
class _Result:
    """What the command of a group made, or why it made nothing. Whoever has the lock may use it."""

    lock: Lock = field(default_factory=Lock)
    kept: work.Kept | None = None
    error: str | None = None

    def discard(self) -> None:
        """Delete the outputs. If one is asked for again, the command runs again."""
        if self.kept is not None:
            work.removed(self.kept.folder)
            self.kept = None


class Workshop:
    """The folder for the commands of an action while it is carried out. Each group is a folder in it."""

    def __init__(self, base: Path, jobs: int, stop: Callable[[], bool]) -> None:
        """Empty the folder: a killed run may have left something in it. Raises DatabaseError."""
        state = state_folder.made(base)
        self.folder, self.logs, self.stop, self.discarded = state / WORK, state / LOGS, stop, 0
        self._jobs, self._lock, self._results = BoundedSemaphore(jobs), Lock(), OrderedDict[str, _Result]()
        try:
            work.removed(self.folder)
            self.folder.mkdir(mode=0o700)
        except OSError as error:
            raise DatabaseError(f"cannot use {state}: {os.strerror(error.errno or 0)}") from None

    @contextmanager
    def made(self, group: str, make: Callable[[], work.Kept]) -> Iterator[work.Kept]:
        """Yield the outputs of a group, made now or before. Raises NotTransformed."""
        with self._lock:
            result = self._results.setdefault(group, _Result())
            self._results.move_to_end(group)
            self._discard_oldest()
        with result.lock:
            if result.kept is None and result.error is None:
                self._make(result, make)
            if result.kept is None:
                raise NotTransformed(result.error)
            yield result.kept

    def _make(self, result: _Result, make: Callable[[], work.Kept]) -> None:
        with self._jobs:
            try:
                if self.stop():
                    raise Stopped
                result.kept = make()
                with self._lock:
                    self.discarded += result.kept.discarded
            except Stopped:
                result.error = "the run was interrupted before the command ended"
            except (Changed, NotTransformed, work.NotMade) as error:
                result.error = str(error)
            except OSError as error:
                result.error = f"the folder for the command cannot be used: {os.strerror(error.errno or 0)}"

    def _discard_oldest(self) -> None:
        """Delete the outputs of groups that others followed."""
        for group, result in [*self._results.items()][:-KEPT]:
            if result.lock.acquire(blocking=False):
                result.discard()
                del self._results[group]
                result.lock.release()


class Converter(Assembler):
    """Makes the outputs of the groups of an action, by running its command. It runs nothing outside a workshop."""

    def __init__(self, name: str, convert: Convert, program: Program | None, texts: ByDigest) -> None:
        self.name, self._convert, self._program, self._texts = name, convert, program, texts
        self._workshop: Workshop | None = None

    @contextmanager
    def opened(self, workshop: Workshop) -> Iterator[None]:
        """Run commands in a workshop, within the block."""
        self._workshop = workshop
        try:
            yield
        finally:
            self._workshop = None

    def assemble(self, identity: str, parts: Iterator[Part], target: int) -> None:
        """Write an output of a group: `identity` tells the command and which output. Raises NotTransformed and OSError."""
        if self._workshop is None or self._program is None:
            raise NotTransformed("commands run only when a plan is carried out")
        arguments, pattern = self._texts[identity]
        listed = [*parts]
        group = sha256(repr((arguments, [(part.name, part.content) for part in listed])).encode()).hexdigest()[:16]
        make = partial(self._run, self._workshop, group, arguments, listed)
        with self._workshop.made(group, make) as kept, open_file(os.fsencode(kept.files[pattern]), os.O_RDONLY) as source:
            hashed(source, target)

    def _run(self, workshop: Workshop, group: str, arguments: Sequence[str], parts: Sequence[Part]) -> work.Kept:
        """Run the command of a group. Return its outputs. Raises NotMade, Stopped, Changed, NotTransformed, OSError."""
        folder, log = workshop.folder / group, workshop.folder / f"{group}.log"
        kept_log = workshop.logs / f"{self.name}-{group}.log"
        try:
            work.made(folder, parts)
            try:
                if (why := run(self._command(arguments), folder, log, workshop.stop)) is not None:
                    raise work.NotMade(why)
                work.check_inputs(parts)
                kept = work.kept(folder, (*self._convert.outputs,), workshop.folder / f"{group}.outputs")
            except work.NotMade as error:
                workshop.logs.mkdir(mode=0o700, exist_ok=True)
                work.keep_tail(log, kept_log, TAIL)
                what = os.path.relpath(kept_log, workshop.logs.parent.parent)
                raise work.NotMade(f"{error}; what it printed is in {what}") from None
            kept_log.unlink(missing_ok=True)
            return kept
        finally:
            work.removed(folder)
            log.unlink(missing_ok=True)

    def _command(self, arguments: Sequence[str]) -> Command:
        convert, path = self._convert, os.environ.get("PATH", os.defpath)
        limits = Limits(convert.timeout, convert.max_output << 20, convert.max_memory << 20, convert.max_processes)
        environment = {"PATH": path, **ENVIRONMENT, **convert.environment}
        program = self._program.path if self._program is not None else ""
        return Command(program, arguments, environment, frozenset(convert.success), limits)


@dataclass(frozen=True, slots=True)
class Converting:
    """The executor of a conversion: `Putting`, with a workshop for the commands."""

    outputs: Outputs
    base: Path
    jobs: int

    def do(self, action: str, steps: Steps, runner: Runner) -> None:
        """Convert groups and put their outputs, until the runner stops."""
        workshop = Workshop(self.base, self.jobs, runner.stop)
        converter = next(filter(None, (_converter(step.operation) for step in steps())), None)
        try:
            with converter.opened(workshop) if converter is not None else nullcontext():
                Putting(self.outputs, "converted", apart=True).do(action, steps, runner)
        finally:
            work.removed(workshop.folder)
        runner.stopped()  # also if the last commands were ended by it
        if workshop.discarded:
            runner.emit(Noted(action, f"files that `outputs` does not have were discarded: {workshop.discarded:,}"))


def _converter(operation: object) -> Converter | None:
    match operation:
        case PutFile(content=Assembled(assembler=Converter() as converter)):
            return converter
    return None
