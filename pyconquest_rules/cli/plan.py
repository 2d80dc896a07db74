"""`plan`: show the plan and the reason for each step."""

from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import (
    AllowPrune,
    AllowVanish,
    Json,
    Locked,
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
        bool, typer.Option("--list", help="Print one line per step. On a terminal, steps are otherwise grouped.")
    ] = False,
    detailed_exitcode: Annotated[bool, typer.Option("--detailed-exitcode", help="Exit with 3 if there are steps to do.")] = False,
    no_index: NoIndex = False,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Plan from the index as it is: connect to nothing, read no source, write nothing. Safe for unread rules.",
        ),
    ] = False,
    locked: Locked = False,
    allow_vanish: AllowVanish = False,
    allow_prune: AllowPrune = False,
    today: Today = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show the plan and the reason for each step.

    Blocked and changed steps come first. Writes only the index and FILE, and nothing at all with --offline.
    Exits with 1 if steps are blocked, DICOM files could not be indexed, most of an output vanished, or there is not enough
    free space, and with 4 if --locked finds a difference.
    """
    if offline and locked:
        raise UsageError("--locked reads sources: leave --offline or --locked out")
    if offline and output:
        raise UsageError("a plan of --offline cannot be saved: leave --offline or --output out")
    shown, loaded = renderer(context, json), rules(context, today)
    from pyconquest_rules import app
    from pyconquest_rules.engine.findings import exit_code

    loaded.chosen(tuple(targets or ()))  # report an unknown target before anything is read
    if locked:
        app.check_locked(loaded, tuple(targets or ()))
    with saving(loaded, output, force=force) as file:
        if offline:
            shown.refused(refused := app.refusals(loaded, as_it_is=True))
        else:
            refused = brought_up_to_date(shown, loaded, no_index=no_index, allow_vanish=allow_vanish)
        with shown.progress() as emit:
            allowed = {"allow_prune": allow_prune, "allow_vanish": allow_vanish}
            made = (app.plan_offline if offline else app.plan)(loaded, tuple(targets or ()), **allowed, emit=emit)
        with made:
            if locked:
                app.compare(loaded, made, listed=steps)
            shown.planned(made, steps=steps)
            if file:
                app.save(made, file)
            counts, findings = made.statuses(), [*made.findings, refused]
    end(exit_code(counts, findings, pending=detailed_exitcode))
