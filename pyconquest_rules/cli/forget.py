"""`forget`: remove patients, studies, series or instances from the index."""

from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, end, renderer, rules
from pyconquest_rules.errors import UsageError


def forget(
    context: typer.Context,
    what: Annotated[list[str], typer.Argument(metavar="UID|SELECT...", help="UIDs, PatientIDs, or names of sets.")],
    files: Annotated[bool, typer.Option("--files", help="Also delete their files, in sources with a layout only.")] = False,
    prune_empty: Annotated[
        bool, typer.Option("--prune-empty", help="With --files, also delete folders that become empty, but no source.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Undo earlier decisions; the next index reads the files again.")] = False,
    json: Json = False,
) -> None:
    """Remove patients, studies, series or instances from the index for good.

    Shows the numbers and asks for confirmation. The decision is kept in .pyconquest-rules/decisions.txt. So later files of a
    forgotten patient stay out too, even if the index is deleted and made again.
    """
    from pyconquest_rules import app
    from pyconquest_rules.answers import Forgotten
    from pyconquest_rules.engine.findings import exit_code

    if prune_empty and not files:
        raise UsageError("--prune-empty needs --files: otherwise no file is deleted")
    shown, loaded = renderer(context, json), rules(context)
    if undo:
        if files:
            raise UsageError("--undo cannot restore deleted files; leave --files out")
        with app.running(loaded):
            number = app.undo_forget(loaded, tuple(what))
        shown.remembered(number)
        return
    with app.running(loaded):
        going = app.to_forget(loaded, tuple(what), files=files)
        if not yes:
            shown.to_forget(going, files=files)
        if yes or typer.confirm("Continue?", err=True):
            result = app.forget(loaded, tuple(what), files=files, prune_empty=prune_empty)
        else:
            result = Forgotten(0, 0, 0, 0)
    shown.forgotten(result)
    end(exit_code({"failed": result.failed}))
