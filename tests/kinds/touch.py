"""`[touch.NAME]`: a kind that no part of the program knows. It leaves a note of every instance of a set."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

from pydantic import Field

from pyconquest_rules.disk.files import Made, Put
from pyconquest_rules.disk.folders import opened
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.engine.intents import part_of
from pyconquest_rules.engine.runner import Executor, Runner, Steps
from pyconquest_rules.errors import Problem
from pyconquest_rules.kinds.kind import ActionKind, Planning, Running
from pyconquest_rules.rules.fields import ActionName, Destination, SetName, Table
from pyconquest_rules.rules.kinds import Seen
from pyconquest_rules.rules.positions import Path
from pyconquest_rules.steps import Mode, OnChanged, OnConflict, Request, Stamp, Step


class Touch(Table):
    """Leave a note of every instance of a set."""

    select: Annotated[SetName, Field(description="The set whose instances get a note.")]
    to: Annotated[Destination, Field(description="The destination of a note.")]
    text: Annotated[str, Field(description="The text of a note.")] = "seen"
    needs: Annotated[tuple[ActionName, ...], Field(description="Actions that must have succeeded before this one.")] = ()
    tags: Annotated[tuple[str, ...], Field(description="Words by which this action can be chosen.")] = ()

    @property
    def fingerprint(self) -> str:
        return sha256(f"touch {self.text}".encode()).hexdigest()


class TouchKind(ActionKind[Touch]):
    name = "touch"
    summary = "Notes of the instances of a set."
    model = Touch

    def check(self, table: Touch, place: Path, seen: Seen) -> Iterator[Problem]:
        if table.text.isupper():
            yield seen.places.at_value((*place, "text"), "a note must not shout", "write it in small letters")

    def selects(self, action: Touch) -> str:
        return action.select

    def prunes(self, action: Touch) -> bool:
        return False

    def requests(self, name: str, action: Touch, planning: Planning) -> Iterator[Request]:
        planning.plan.add_action(name, Mode.COPY, OnConflict.ERROR, OnChanged.ERROR, action.fingerprint)
        return self._requests(name, action, planning)

    def _requests(self, name: str, action: Touch, planning: Planning) -> Iterator[Request]:
        template, outputs = planning.rules.templates[name], planning.rules.outputs
        for uid, source, size, mtime_ns, *values in planning.sets.instances(action.select, template.columns):
            to = template.render(values)
            yield Request(uid, source, size, mtime_ns, outputs.within(to.folder.path, to.name), to.name, to.folder.written)

    def executor(self, name: str, action: Touch, running: Running) -> Executor:
        return Touching(running.rules.outputs, action.text)


@dataclass(frozen=True, slots=True)
class Touching:
    """Writes the notes, one by one: noted as intended, written, noted as complete, placed, recorded."""

    outputs: Outputs
    text: str

    def do(self, action: str, steps: Steps, runner: Runner) -> None:
        for step in steps():
            if runner.stopped():
                return
            size = self._placed(step, runner)
            runner.done("touched", action, step.SOPInstanceUID, size, size)

    def _placed(self, step: Step, runner: Runner) -> int:
        run, note = runner.result.run, f"{step.SOPInstanceUID} {self.text}\n".encode()
        part = part_of(runner.ledger.name, run, step.number)
        folder, _, name = step.operation.destination.rpartition("/")
        runner.ledger.intend([step], run)
        with opened(self.outputs, folder, make=True, guard=self.outputs.guard()) as descriptor:
            with open(part, "xb", opener=lambda path, flags: os.open(path, flags, 0o644, dir_fd=descriptor)) as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
                status = os.fstat(file.fileno())
            put = Put(sha256(note).hexdigest(), Stamp.of(status))
            runner.ledger.intend_to_place([(step, Made(put, status.st_ino))], run)
            os.replace(part, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
            os.fsync(descriptor)
        runner.ledger.record([(step, put)], run)
        return len(note)
