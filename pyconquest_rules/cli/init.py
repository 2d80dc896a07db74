"""`init`: a starter rules file."""

from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, renderer
from pyconquest_rules.errors import UsageError

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
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where; here if left out.")] = Path(),
    json: Json = False,
) -> None:
    """Writes a starter rules.toml.

    It works at once: it copies the CT and MR images below data/ to export/.
    """
    file = folder / "rules.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as new:
            new.write(STARTER)
    except FileExistsError:
        raise UsageError(f"{file} exists already; nothing was changed") from None
    renderer(context, json).written(file, f"put DICOM files into {folder / 'data'}, then: pyconquest-rules plan")
