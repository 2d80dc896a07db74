"""`forget`: takes patients, studies, series or instances out of the index."""

from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, end, renderer, rules
from pyconquest_rules.errors import UsageError


def forget(
    context: typer.Context,
    what: Annotated[list[str], typer.Argument(metavar="UID|SELECT...", help="UIDs, PatientIDs, or names of sets.")],
    files: Annotated[bool, typer.Option("--files", help="Delete their files too; only of sources with a layout.")] = False,
    prune_empty: Annotated[
        bool, typer.Option("--prune-empty", help="With --files, delete the folders that become empty too; never a source's own.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take earlier decisions back; the next index reads the files.")] = False,
    json: Json = False,
) -> None:
    """Takes patients, studies, series or instances out of the index, for good.

    Shows what goes, and asks. The decision is kept in .pyconquest-rules/decisions.txt: files of a forgotten patient that come
    later stay out too, and so they do when the index is made anew.
    """
    from pyconquest_rules import app
    from pyconquest_rules.answers import Forgotten
    from pyconquest_rules.engine.findings import exit_code

    if prune_empty and not files:
        raise UsageError("--prune-empty needs --files: without it no file is deleted")
    shown, loaded = renderer(context, json), rules(context)
    if undo:
        if files:
            raise UsageError("--undo brings no deleted files back; leave --files out")
        with app.running(loaded):
            number = app.undo_forget(loaded, tuple(what))
        shown.remembered(number)
        return
    with app.running(loaded):
        going = app.to_forget(loaded, tuple(what), files=files)
        if not yes:
            shown.to_forget(going, files=files)
        if yes or typer.confirm("Do it?", err=True):
            result = app.forget(loaded, tuple(what), files=files, prune_empty=prune_empty)
        else:
            result = Forgotten(0, 0, 0, 0)
    shown.forgotten(result)
    end(exit_code({"failed": result.failed}))
