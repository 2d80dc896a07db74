"""`[copy.NAME]`: its keys, its checks, and what it requests."""

from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field

from pyconquest_rules.archives.names import is_member
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.engine.requested import reason_of
from pyconquest_rules.errors import Problem
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.rules.fields import ActionName, Destination, SetName, Table
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path
from pyconquest_rules.steps import Mode, OnChanged, OnConflict, Reason, Request, Selected
from pyconquest_rules.templates import RenderError, Template

PACKED = 'the file is a member of an archive, which can only be copied: use mode = "copy"'


class Copy(Table):
    """Puts the file of every instance of a set at a destination. The source is never changed, but by `mode = "move"`."""

    select: Annotated[SetName, Field(description="The set whose instances are copied.")]
    to: Annotated[
        Destination,
        Field(description="The destination of an instance: a Jinja template of DICOM keywords, columns of the query, and vars."),
    ]
    mode: Annotated[Mode, Field(description="How the file comes there. `move` takes it away from the source.")] = Mode.COPY
    on_conflict: Annotated[
        OnConflict, Field(description="What to do where other content that is not ours stands at the destination.")
    ] = OnConflict.ERROR
    on_changed: Annotated[
        OnChanged,
        Field(
            description="What to do if somebody changed a file that this action put there: `error` blocks the step, `restore`"
            " replaces the file."
        ),
    ] = OnChanged.ERROR
    prune: Annotated[
        bool,
        Field(
            strict=True,
            description="Whether files that this action made are removed, by steps of the plan, once the set wants them no more.",
        ),
    ] = False
    needs: Annotated[
        tuple[ActionName, ...], Field(description='Actions that must have gone well before this one, as "copy.NAME".')
    ] = ()
    tags: Annotated[tuple[str, ...], Field(description="Words by which this action can be chosen: `apply tag:nightly`.")] = ()

    @property
    def fingerprint(self) -> str:
        """Changes whenever the content of destinations may. Where they are is the identity of a step, not part of it."""
        return self.mode.fingerprint


def check(copy: Copy, place: Path, places: Places) -> Iterator[Problem]:
    """Yield keys that `mode = "move"` excludes."""
    if copy.prune and copy.mode is Mode.MOVE:
        hint = "what was moved has left the set, and may be all that there is of it: use another mode, or leave prune out"
        yield places.at_key((*place, "prune"), 'mode = "move" cannot have prune', hint)
    if copy.on_changed is OnChanged.RESTORE and copy.mode is Mode.MOVE:
        hint = "the source of what was moved is gone, so nothing can be restored: use another mode, or leave on_changed out"
        yield places.at_key((*place, "on_changed"), 'mode = "move" cannot restore', hint)


def requests(mode: Mode, template: Template, outputs: Outputs, instances: Iterable[Selected]) -> Iterator[Request]:
    """Yield one request for each row of the set, in the order of its instances.

    `instances` end with the values of the template's `columns`.
    """
    for uid, source, size, mtime_ns, *values in instances:
        if mode is not Mode.COPY and is_member(source):
            yield Request(uid, source, size, mtime_ns, "", "", "", Reason.IN_ARCHIVE, PACKED)
            continue
        try:
            to = template.render(values)
            yield Request(uid, source, size, mtime_ns, outputs.within(to.folder.path, to.name), to.name, to.folder.written)
        except (RenderError, UnsafePath) as error:
            yield Request(uid, source, size, mtime_ns, "", "", "", reason_of(error), str(error))
