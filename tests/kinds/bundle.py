"""`[bundle.NAME]`: a kind that makes one file of many instances: the name of each part, its size, and its bytes."""

import os
from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from pyconquest_rules.content import Applied, Assembler, NotTransformed, Part
from pyconquest_rules.disk.contents import opened
from pyconquest_rules.engine.parts import Member, grouped
from pyconquest_rules.engine.putting import Putting
from pyconquest_rules.engine.requested import Files
from pyconquest_rules.engine.runner import Executor
from pyconquest_rules.kinds.kind import ActionKind, Planning, Running
from pyconquest_rules.rules.fields import ActionName, Destination, SetName, Table
from pyconquest_rules.rules.kinds import Seen
from pyconquest_rules.rules.positions import Path
from pyconquest_rules.steps import Mode, OnChanged, OnConflict, Reason, Request


class Bundle(Table):
    """Make a file of all instances that have the same destination."""

    select: Annotated[SetName, Field(description="The set whose instances are bundled.")]
    to: Annotated[Destination, Field(description="The destination of a bundle.")]
    prune: Annotated[bool, Field(description="Whether bundles that are no longer requested are removed.")] = False
    needs: Annotated[tuple[ActionName, ...], Field(description="Actions that must have succeeded before this one.")] = ()
    tags: Annotated[tuple[str, ...], Field(description="Words by which this action can be chosen.")] = ()

    fingerprint: ClassVar[str] = "bundle"


class Bundling(Assembler):
    def __init__(self, name: str) -> None:
        self.name = name

    def assemble(self, identity: str, parts: Iterator[Part], target: int) -> None:
        for name, _, content, _ in parts:
            with opened(content) as (file, size, _):
                if size == 0:
                    raise NotTransformed("a part is empty")
                os.write(target, f"{identity} {name} {size}\n".encode())
                os.sendfile(target, file, 0, size)


class BundleKind(ActionKind[Bundle]):
    name = "bundle"
    outcomes = ("bundled", "adopted", "removed", "released")
    summary = "Files that are made of many instances."
    model = Bundle

    def check(self, table: Bundle, place: Path, seen: Seen) -> Iterator:  # type: ignore[type-arg]
        yield from ()

    def selects(self, action: Bundle) -> str:
        return action.select

    def prunes(self, action: Bundle) -> bool:
        return action.prune

    def requests(self, name: str, action: Bundle, planning: Planning) -> Iterator[Request]:
        files = Files(Mode.COPY, OnConflict.ERROR, OnChanged.ERROR, planning.allow_prune if action.prune else None)
        planning.plan.add_action(name, files, action.fingerprint)
        return self._requests(name, action, planning)

    def _requests(self, name: str, action: Bundle, planning: Planning) -> Iterator[Request]:
        applied, outputs = Applied(Bundling(name), "v1"), planning.rules.outputs
        members = planning.in_time(self._members(name, action, planning))
        for key, number, (size, digest), doubled, _ in grouped(planning.plan, members):
            folder, file = key.rsplit("/", 1)
            path = outputs.within(folder, file)
            if doubled:
                yield Request("", b"", size, digest, "", "", "", Reason.COLLISION, "two parts have the same name")
            else:
                yield Request("", b"", size, digest, path, file, folder, applied=applied, parts=number)

    def _members(self, name: str, action: Bundle, planning: Planning) -> Iterator[Member]:
        template = planning.rules.templates[name]
        for uid, source, size, mtime_ns, *values in planning.sets.instances(action.select, template.columns):
            to = template.render(values)
            yield Member(f"{to.folder.path}/{to.name}", f"{uid}.dcm", uid, source, size, mtime_ns)

    def executor(self, name: str, action: Bundle, running: Running) -> Executor:
        return Putting(running.rules.outputs, "bundled")
