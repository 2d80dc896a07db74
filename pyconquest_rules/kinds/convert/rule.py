"""`[convert.NAME]`: its keys and its checks."""

import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Annotated

from pydantic import Field

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Mistake, Problem
from pyconquest_rules.rules.fields import ActionName, Destination, SetName, Table, TextTemplate, VariablesOnly
from pyconquest_rules.rules.kinds import Seen
from pyconquest_rules.rules.positions import Path
from pyconquest_rules.steps import OnChanged, OnConflict
from pyconquest_rules.templates.template import Text, with_vars

INPUTS, LIST, OUTPUTS = "inputs", "inputs.txt", "outputs"
"""The names of the folder of inputs, of the file with their paths, and of the folder of outputs, as the command gets them."""

OWN = {"inputs": INPUTS, "input_list": LIST, "outputs": OUTPUTS}
"""The names that only the templates of a command have, with their values: paths in the folder in which it runs."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OURS = ("HOME", "TMPDIR")
LEVELS = tuple(Level)


class Per(StrEnum):
    """What a group of instances has in common."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    ROW = "row"


Argument = Annotated[str, TextTemplate((*OWN,))]


class Convert(Table):
    """Runs a command for each group of instances, and keeps the files that it declares."""

    select: Annotated[SetName, Field(description="The set whose instances are converted.")]
    per: Annotated[
        Per, Field(description="What the command runs for: each `series`, `study` or `patient`, or each `row` of the set.")
    ] = Per.SERIES
    command: Annotated[
        tuple[Argument, ...],
        Field(
            min_length=1,
            description="The program and its arguments, each a template. `{{ inputs }}` is a folder with links to the files of"
            " the group, `{{ input_list }}` a file with their paths, `{{ outputs }}` an empty folder.",
        ),
    ]
    outputs: Annotated[
        dict[str, Destination],
        Field(
            min_length=1,
            description="For each file that the command makes in `{{ outputs }}`: its name there, or a pattern that matches only"
            " this file, and the template of its destination.",
        ),
    ]
    environment: Annotated[
        dict[str, Annotated[str, VariablesOnly()]],
        Field(default_factory=dict, description="Environment variables of the command. It gets none of the user's, except PATH."),
    ]
    success: Annotated[tuple[int, ...], Field(min_length=1, description="The exit codes that count as success.")] = (0,)
    timeout: Annotated[float, Field(gt=0, le=604800, description="Seconds after which the command is killed.")] = 3600.0
    max_output: Annotated[
        int, Field(strict=True, ge=1, le=1 << 24, description="The most that the files of one command may occupy, in MiB.")
    ] = 4096
    max_memory: Annotated[
        int, Field(strict=True, ge=16, le=1 << 24, description="The most address space of each of its processes, in MiB.")
    ] = 16384
    max_processes: Annotated[
        int, Field(strict=True, ge=1, le=4096, description="The most processes that one command may have at a time.")
    ] = 64
    jobs: Annotated[int, Field(strict=True, ge=1, le=64, description="How many commands run at the same time.")] = 1
    on_conflict: Annotated[OnConflict, Field(description="What to do if a destination has other content that is not ours.")] = (
        OnConflict.ERROR
    )
    on_changed: Annotated[
        OnChanged,
        Field(
            description="What to do if somebody changed a file that this action made: `error` blocks the step, `restore`"
            " replaces the file."
        ),
    ] = OnChanged.ERROR
    prune: Annotated[
        bool,
        Field(strict=True, description="Whether to delete files that this action made once their group has left the set."),
    ] = False
    needs: Annotated[
        tuple[ActionName, ...], Field(description='Actions that must have succeeded before this one, as "copy.NAME".')
    ] = ()
    tags: Annotated[tuple[str, ...], Field(description="Words by which this action can be chosen: `apply tag:nightly`.")] = ()

    @property
    def fingerprint(self) -> str:
        """Changes whenever the content of outputs may, as far as the rules decide it."""
        decides = {"kind": "convert", "per": self.per, "command": self.command, "environment": self.environment}
        return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def check(convert: Convert, place: Path, seen: Seen) -> Iterator[Problem]:
    """Yield what the types of the keys do not find."""
    yield from _program_problems(convert, place, seen)
    if convert.on_conflict is OnConflict.RENAME:
        hint = "use error, skip or overwrite, and templates that tell the groups apart"
        yield seen.places.at_value((*place, "on_conflict"), "a file of many instances cannot be renamed by one of them", hint)
    for name, text in convert.environment.items():
        at = (*place, "environment", name)
        if not VARIABLE.fullmatch(name) or name in OURS:
            hint = "it is the folder in which the command runs" if name in OURS else "a name has letters, digits and _"
            yield seen.places.at_key(at, f'"{name}" cannot be set here', hint)
        try:
            if "\0" in with_vars(text, seen.params):
                yield seen.places.at_value(at, "must not have the character U+0000")
        except Mistake as mistake:
            yield seen.places.within(at, mistake)
    for pattern in convert.outputs:
        if not _is_inside(pattern):
            hint = 'write a name or a pattern, as "out.nii.gz" or "*.json", without ".." and without a "/" at either end'
            yield seen.places.at_key((*place, "outputs", pattern), "this is not a file in {{ outputs }}", hint)
    yield from _deeper_names(convert, place, seen)


def _program_problems(convert: Convert, place: Path, seen: Seen) -> Iterator[Problem]:
    """Yield a problem if instances would decide which program runs."""
    at = (*place, "command", 0)
    try:
        program = Text(convert.command[0], seen.params)
        if program.columns:
            hint = "only {{ vars.NAME }} works here; put the rest into other arguments"
            mistake = Mistake("the program must be the same for all instances", fragment=program.columns[0], hint=hint)
            yield seen.places.within(at, mistake)
        elif not program.render(()):
            yield seen.places.at_value(at, "the program has no name")
    except Mistake:
        return  # reported with the other templates


def _is_inside(pattern: str) -> bool:
    return pattern.isprintable() and not {"", ".", ".."} & {*pattern.split("/")}


def _deeper_names(convert: Convert, place: Path, seen: Seen) -> Iterator[Problem]:
    """Yield the keywords whose values differ between instances of a group."""
    if convert.select not in seen.sets.selections or convert.select in seen.sets.broken:
        return
    group = seen.sets.selections[convert.select].level if convert.per is Per.ROW else Level(convert.per)
    templates = [(*place, "command", number) for number in range(len(convert.command))]
    for at in (*templates, *((*place, "outputs", pattern) for pattern in convert.outputs)):
        for name in sorted(seen.names.get(at, frozenset()) - {*OWN}):
            level = seen.sets.level_of(convert.select, name)
            if level is not None and LEVELS.index(level) > LEVELS.index(group):
                what = f"a row of the level {group}" if convert.per is Per.ROW else f"one {group}"
                hint = "use a keyword of that level or above, or select it in the query of the set"
                mistake = Mistake(f'"{name}" may differ between the instances of {what}', fragment=name, hint=hint)
                yield seen.places.within(at, mistake)


def bound(convert: Convert, params: Mapping[str, str]) -> Convert:
    """Return the table with the values of variables in the environment of its command."""
    environment = {name: with_vars(text, params) for name, text in convert.environment.items()}
    return convert.model_copy(update={"environment": environment})
