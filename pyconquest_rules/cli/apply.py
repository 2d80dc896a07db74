"""`apply`: does what is to be done."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import FAILED, INTERRUPTED, AllowPrune, AllowVanish, Json, NoIndex, Targets, end, renderer, rules
from pyconquest_rules.errors import UsageError


def apply(
    context: typer.Context,
    targets: Targets = None,
    saved: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Do a plan that was saved; refused when it is stale.")
    ] = None,
    no_index: NoIndex = False,
    allow_vanish: AllowVanish = False,
    allow_prune: AllowPrune = False,
    json: Json = False,
) -> None:
    """Does what is to be done.

    Brings the index up to date and plans first. A second run does nothing; a run after a kill does the rest.
    Exits with 1 where steps failed or are blocked, 5 for a stale plan, 6 where another run is going on.
    """
    from pyconquest_rules.index.workers import here, processes

    shown, loaded = renderer(context, json), rules(context)
    workers = here if no_index else processes(loaded.database)
    from pyconquest_rules import app

    if saved and targets:
        raise UsageError("a saved plan has its targets already; leave them out")
    loaded.chosen(tuple(targets or ()))  # a target that names nothing is told before anything is read
    with app.running(loaded), shown.progress() as emit:
        if not no_index:
            app.index(loaded, allow_vanish=allow_vanish, workers=workers, emit=emit)
        chosen = tuple(targets or ())
        planned = partial(app.load_plan, file=saved) if saved else partial(app.plan, targets=chosen, allow_prune=allow_prune)
        with planned(loaded, emit=emit) as made:
            result = app.apply(loaded, made, targets=chosen, emit=emit)
            shown.planned(made, steps=False) if result.counts["blocked"] and not json else None
    shown.applied(result)
    end(INTERRUPTED if result.interrupted else FAILED if result.counts["failed"] or result.counts["blocked"] else 0)
