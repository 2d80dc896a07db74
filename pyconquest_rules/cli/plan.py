"""`plan`: says what would be done, and why."""

from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import (
    AllowPrune,
    AllowVanish,
    Json,
    NoIndex,
    Targets,
    Today,
    brought_up_to_date,
    end,
    renderer,
    rules,
)
from pyconquest_rules.cli.output import Force, saving
from pyconquest_rules.errors import UsageError


def plan(
    context: typer.Context,
    targets: Targets = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Save the plan, for: apply --plan FILE")
    ] = None,
    steps: Annotated[
        bool, typer.Option("--list", help="Show every step on a line; on a terminal they are grouped otherwise.")
    ] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 3 where something is to be done.")
    ] = False,
    no_index: NoIndex = False,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Plan from the index as it is: no connection, no source is read, nothing is written. For unread rules.",
        ),
    ] = False,
    allow_vanish: AllowVanish = False,
    allow_prune: AllowPrune = False,
    today: Today = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Says what would be done, and why.

    Blocked and changed steps come first. Writes nothing but the index and FILE, with --offline nothing at all.
    Exits with 1 if steps are blocked, DICOM files could not be indexed, most of an output vanished, or free space is too little.
    """
    if offline and output:
        raise UsageError("a plan that was made with --offline cannot be saved: leave --offline or --output out")
    shown, loaded = renderer(context, json), rules(context, today)
    from pyconquest_rules import app
    from pyconquest_rules.engine.findings import exit_code

    loaded.chosen(tuple(targets or ()))  # a target that names nothing is told before anything is read
    with saving(loaded, output, force=force) as file:
        if offline:
            shown.refused(refused := app.refusals(loaded, as_it_is=True))
        else:
            refused = brought_up_to_date(shown, loaded, no_index=no_index, allow_vanish=allow_vanish)
        with shown.progress() as emit:
            allowed = {"allow_prune": allow_prune, "allow_vanish": allow_vanish}
            made = (app.plan_offline if offline else app.plan)(loaded, tuple(targets or ()), **allowed, emit=emit)
        with made:
            shown.planned(made, steps=steps)
            if file:
                made.save(file)
            counts, findings = made.statuses(), [*made.findings, refused]
    end(exit_code(counts, findings, pending=detailed_exitcode))
