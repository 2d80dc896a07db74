"""`init`: write a starter rules file."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, found, renderer
from pyconquest_rules.errors import Error, UsageError

STARTER = """\
rules_version = 1
outputs = ["export"]                  # nothing is ever written elsewhere

[sources.archive]
path = "data"                         # a folder with DICOM files; it is only read

[select.scans]                       # a named set: a condition on the view of its level
level = "series"
where = "Modality in ('CT', 'MR')"

[copy.export]
select = "scans"
to = "export/{{ PatientID | default('unknown') }}/{{ SeriesInstanceUID }}/{{ SOPInstanceUID }}.dcm"
"""


def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder. Default: this one.")] = Path(),
    json: Json = False,
) -> None:
    """Write a starter rules.toml.

    The rules work at once: they copy the CT and MR images below data/ to export/.
    """
    file = folder / "rules.toml"
    _check_outside_sources(context, file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as new:
            new.write(STARTER)
    except FileExistsError:
        raise UsageError(f"{file} already exists; nothing was changed") from None
    renderer(context, json).written(file, _next(folder))


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
