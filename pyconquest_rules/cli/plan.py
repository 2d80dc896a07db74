"""`plan`: says what would be done, and why."""

from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import (
    FAILED,
    PENDING,
    AllowPrune,
    AllowVanish,
    Json,
    NoIndex,
    Targets,
    Today,
    end,
    renderer,
    rules,
)
from pyconquest_rules.cli.output import Force, saving
from pyconquest_rules.steps import Status


def plan(
    context: typer.Context,
    targets: Targets = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Save the plan, for: apply --plan FILE")
    ] = None,
    steps: Annotated[
        bool, typer.Option("--list", help="Show every step; on a terminal the first ones are shown anyway.")
    ] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 3 where something is to be done.")
    ] = False,
    no_index: NoIndex = False,
    allow_vanish: AllowVanish = False,
    allow_prune: AllowPrune = False,
    today: Today = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Says what would be done, and why.

    Writes nothing but the index and FILE. Exits with 1 where steps are blocked or files could not be read.
    """
    shown, loaded = renderer(context, json), rules(context, today)
    from pyconquest_rules import app
    from pyconquest_rules.index.workers import processes

    loaded.chosen(tuple(targets or ()))  # a target that names nothing is told before anything is read
    unread = 0
    with saving(loaded, output, force=force) as file:
        with shown.progress() as emit:
            if not no_index:
                indexed = app.index(loaded, allow_vanish=allow_vanish, workers=processes, emit=emit)
                shown.refused(indexed)
                unread = indexed.unread
            made = app.plan(loaded, tuple(targets or ()), allow_prune=allow_prune, emit=emit)
        with made:
            shown.planned(made, steps=steps)
            if file:
                made.save(file)
            counts = made.counts().values()
    blocked, todo = (any(of[status] for of in counts) for status in (Status.BLOCKED, Status.TODO))
    end(FAILED if blocked or unread else PENDING if todo and detailed_exitcode else 0)
