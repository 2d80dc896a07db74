"""`forget`: takes patients, studies, series or instances out of the index."""

from typing import Annotated

import typer

from pyconquest_rules.cli.common import FAILED, Json, end, renderer, rules


def forget(
    context: typer.Context,
    what: Annotated[list[str], typer.Argument(metavar="UID|SELECT...", help="UIDs, PatientIDs, or names of sets.")],
    files: Annotated[bool, typer.Option("--files", help="Delete their files too; only of sources with a layout.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    json: Json = False,
) -> None:
    """Takes patients, studies, series or instances out of the index.

    Shows what goes, and asks. Files that stay on the disk are left out of the index until they change.
    """
    from pyconquest_rules import app

    shown, loaded = renderer(context, json), rules(context)
    with app.running(loaded):
        going = app.to_forget(loaded, tuple(what), files=files)
        if not yes:
            shown.to_forget(going, files=files)
            typer.confirm("Do it?", abort=True, err=True)
        result = app.forget(loaded, tuple(what), files=files)
    shown.forgotten(result)
    end(FAILED if result.failed else 0)
