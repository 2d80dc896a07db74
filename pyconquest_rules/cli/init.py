"""`init`: write a starter rules file."""

from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, found, renderer
from pyconquest_rules.errors import Error, UsageError, did_you_mean

PRESETS = {
    "starter": "the CT and MR images, by patient and series",
    "tree": "all files, by patient, study and series",
    "bids": "the folder sourcedata of a BIDS data set",
    "nnunet": "images and segmentations by case, to convert for nnU-Net",
    "rt-cohort": "complete radiotherapy plans with their CT, structure set and doses",
    "conquest": "the tree of a Conquest server, for each FileNameSyntax",
}
"""What each preset copies. Its rules are a file in the folder `presets` of the package."""
Preset = Annotated[
    str,
    typer.Option(
        metavar="NAME", help=f"The rules to start with. {'. '.join(f'{name}: {what}' for name, what in PRESETS.items())}."
    ),
]


def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder. Default: this one.")] = Path(),
    preset: Preset = "starter",
    json: Json = False,
) -> None:
    """Write a starter rules.toml.

    The rules work at once: they copy files below data/ to another folder. --preset chooses which files, and the tree.
    """
    text, file = _text(preset), folder / "rules.toml"
    _check_outside_sources(context, file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise UsageError(f"{file} already exists; nothing was changed") from None
    renderer(context, json).written(file, _next(folder))


def _text(preset: str) -> str:
    """Return the rules of a preset. Raises UsageError if there is none of that name."""
    if preset not in PRESETS:
        hint = did_you_mean(preset, PRESETS) or f"presets are: {', '.join(PRESETS)}"
        raise UsageError(f'unknown preset "{preset}"; {hint}')
    return (files("pyconquest_rules") / "presets" / f"{preset}.toml").read_text(encoding="utf-8")


def _check_outside_sources(context: typer.Context, file: Path) -> None:
    """Raise UsageError if the new file would lie inside a source of rules that exist."""
    try:
        rules_file = context.obj.file or found(file.parent.absolute())
    except UsageError:
        return
    from pyconquest_rules import app

    try:
        existing = app.Rules.load(rules_file)
    except Error:
        return  # their sources are not known
    app.check_outside(existing, file)


def _next(folder: Path) -> str:
    """Return the next commands, for a shell in this folder."""
    data, of = folder / "data", "" if folder == Path() else f"-f {quote(str(folder / 'rules.toml'))} "
    made = "" if data.is_dir() else f"  mkdir {quote(str(data))}   # and put DICOM files there\n"
    return f"next:\n{made}  pyconquest-rules {of}plan"
