"""`conquest-config`: how a Conquest server serves the index."""

from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, renderer, rules


def conquest_config(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write the files there; else they are shown.")
    ] = None,
    ae_title: Annotated[str, typer.Option("--ae-title", help="The AE title of the server.")] = "CONQUESTSRV1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port of the server.")] = 5678,
    json: Json = False,
) -> None:
    """Shows how a Conquest server serves the index.

    That is dicom.ini, acrnema.map and dicom.sql for a server that reads the index of these rules.
    """
    from pyconquest_rules import app

    shown = renderer(context, json)
    files = app.conquest_config(rules(context), ae_title=ae_title, port=port)
    if folder is None:
        shown.texts(files)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    shown.written(folder, "start the server there: dgate -v")
