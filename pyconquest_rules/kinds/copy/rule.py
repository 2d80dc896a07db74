"""`[copy.NAME]`: puts the files of a set where a template says."""

from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.steps import Mode, OnChanged, OnConflict, Reason, Selected, Wish
from pyconquest_rules.templates import BadValue, MissingValue, RenderError, Template


class Copy(BaseModel):
    """Puts the file of every instance of a set at a destination. The source is never changed, but by `mode = "move"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    select: Annotated[str, Field(description="The set whose instances are copied.")]
    to: Annotated[
        str,
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
    needs: Annotated[tuple[str, ...], Field(description='Actions that must have gone well before this one, as "copy.NAME".')] = ()
    tags: Annotated[tuple[str, ...], Field(description="Words by which this action can be chosen: `apply tag:nightly`.")] = ()

    @property
    def fingerprint(self) -> str:
        """Of what decides the content of the destination; the destination itself is the identity of a step, not part of it."""
        return self.mode.fingerprint


def wishes(template: Template, outputs: Outputs, instances: Iterable[Selected]) -> Iterator[Wish]:
    """One wish for each row that the set's query gave for an instance, in the order of the instances.

    `instances` have the values of the template's `columns`.
    """
    for uid, source, size, mtime_ns, *values in instances:
        try:
            to = template.render(values)
            yield Wish(uid, source, size, mtime_ns, outputs.within(to.folder.path, to.name), to.name, to.folder.written)
        except (RenderError, UnsafePath) as error:
            yield Wish(uid, source, size, mtime_ns, "", "", "", _reason(error), str(error))


def _reason(error: RenderError | UnsafePath) -> Reason:
    match error:
        case MissingValue():
            return Reason.MISSING_VALUE
        case BadValue():
            return Reason.BAD_VALUE
    return Reason.UNSAFE_PATH
