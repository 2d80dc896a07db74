"""`conquest-config`: how a Conquest server serves the index."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, renderer, rules
from pyconquest_rules.cli.output import Force


def conquest_config(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write the files there. If left out, print them.")
    ] = None,
    ae_title: Annotated[str, typer.Option("--ae-title", help="The AE title of the server.")] = "CONQUESTSRV1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port of the server.")] = 5678,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write the configuration with which a Conquest server serves the index.

    That is dicom.ini, acrnema.map and dicom.sql. The server rejects stores, but it deletes files on request: run it as a user who
    cannot write the sources. docs/conquest.md tells what else it needs.
    """
    from pyconquest_rules import app

    shown, loaded = renderer(context, json), rules(context)
    files, unserved = app.conquest_config(loaded, ae_title=ae_title, port=port)
    if unserved:
        shown.unserved(unserved)
    if folder is None:
        shown.texts(files)
        return
    with ExitStack() as stack:  # each is checked before any is replaced
        for name, text in files.items():
            stack.enter_context(app.written(loaded, folder / name, force=force, make=True)).write(text.encode())
    shown.written(
        folder, f"copy dgate.dic there, then start the server as a user who cannot write: dgate -v -w{folder.resolve()}"
    )
