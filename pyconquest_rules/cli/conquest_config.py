"""`conquest-config`: write the configuration of a Conquest server."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, renderer, rules
from pyconquest_rules.cli.output import Force


def conquest_config(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="The folder to write to. Default: print the files.")
    ] = None,
    ae_title: Annotated[str, typer.Option("--ae-title", help="The AE title of the server.")] = "CONQUESTSRV1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port of the server.")] = 5678,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write the configuration of a Conquest server that serves the index.

    The files are dicom.ini, acrnema.map and dicom.sql. The server rejects stores, but it deletes files on request: run it as a
    user who cannot write the sources. See docs/conquest.md for its other requirements.
    """
    from pyconquest_rules import app

    shown, loaded = renderer(context, json), rules(context)
    files, unserved = app.conquest_config(loaded, ae_title=ae_title, port=port)
    if unserved:
        shown.unserved(unserved)
    if folder is None:
        shown.texts(files)
        return
    with ExitStack() as stack:  # check each file before any is replaced
        for name, text in files.items():
            stack.enter_context(app.written(loaded, folder / name, force=force, make=True)).write(text.encode())
    shown.written(
        folder, f"copy dgate.dic there, then start the server as a user who cannot write: dgate -v -w{folder.resolve()}"
    )
