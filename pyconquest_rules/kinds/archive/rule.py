"""`[archive.NAME]`: its keys, its checks, and what it requests."""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Annotated

from pydantic import Field

from pyconquest_rules.disk.archives import ARCHIVES
from pyconquest_rules.errors import Problem
from pyconquest_rules.paths import safe_part
from pyconquest_rules.rules.fields import ActionName, Destination, MemberName, SetName, Table
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path
from pyconquest_rules.steps import OnChanged, OnConflict

ENDINGS = tuple(archive.ending for archive in ARCHIVES)
# What a template renders; the rest of it is fixed text.
RENDERED = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


class Archive(Table):
    """Packs the files of a set into archives, one for each path that the template renders."""

    select: Annotated[SetName, Field(description="The set whose instances are packed.")]
    to: Annotated[
        Destination,
        Field(
            description="The path of an archive, which ends with .zip or .tar. Instances with the same path are packed together."
        ),
    ]
    member: Annotated[
        MemberName | None, Field(min_length=1, description="The name of an instance in its archive. Required without `dicomdir`.")
    ] = None
    dicomdir: Annotated[
        bool, Field(strict=True, description="Whether the archive is a DICOM file-set: with a DICOMDIR, and with its names.")
    ] = False
    on_conflict: Annotated[
        OnConflict, Field(description="What to do if the path of an archive holds another file. `rename` does not work here.")
    ] = OnConflict.ERROR
    on_changed: Annotated[
        OnChanged,
        Field(description="What to do if somebody changed an archive: `error` blocks the step, `restore` replaces the archive."),
    ] = OnChanged.ERROR
    prune: Annotated[
        bool,
        Field(strict=True, description="Whether to delete archives that this action created once no instance has their path."),
    ] = False
    needs: Annotated[
        tuple[ActionName, ...], Field(description='Actions that must have succeeded before this one, such as "copy.NAME".')
    ] = ()
    tags: Annotated[tuple[str, ...], Field(description="Words by which this action can be chosen: `apply tag:nightly`.")] = ()

    @property
    def fingerprint(self) -> str:
        """Changes whenever the bytes of an archive may although its members are the same."""
        return sha256(json.dumps({"kind": "archive", "dicomdir": self.dicomdir}, sort_keys=True).encode()).hexdigest()


def check(archive: Archive, place: Path, places: Places) -> Iterator[Problem]:
    """Yield what is wrong with the names of an archive and of its members."""
    if not archive.to.endswith(ENDINGS):
        yield places.at_value((*place, "to"), f"an archive ends with {' or '.join(ENDINGS)}", 'write to = "NAME.zip"')
    if archive.on_conflict is OnConflict.RENAME:
        hint = "an archive has no UID to name it by: tell the archives apart in the template"
        yield places.at_value((*place, "on_conflict"), 'an archive cannot have on_conflict = "rename"', hint)
    if archive.dicomdir and archive.member is not None:
        hint = "remove member: the names of a file-set follow from the UIDs of its instances"
        yield places.at_key((*place, "member"), "dicomdir = true cannot have member", hint)
    elif archive.member is not None:
        yield from _member_problems(archive.member, (*place, "member"), places)
    elif not archive.dicomdir:
        hint = 'write member = "{{ SOPInstanceUID }}.dcm", or dicomdir = true'
        yield places.at_key(place, '"member" is missing', hint)


def _member_problems(member: str, place: Path, places: Places) -> Iterator[Problem]:
    """Yield a problem for the fixed parts of a member's name that are not safe."""
    fixed = RENDERED.sub("x", member)
    if fixed.startswith("/"):
        yield places.at_value(place, "the name of a member is relative", "remove the slash at its beginning")
    elif unsafe := next((part for part in fixed.split("/") if part not in ("", ".") and safe_part(part) != part), None):
        hint = 'a part of a name has no : * ? " < > | \\ and is not .., a device of Windows, or longer than 255 bytes'
        yield places.at_value(place, f'"{unsafe}" is not a safe part of a name', hint)
