"""`apply`: carry out the plan."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyconquest_rules.cli.common import (
    AllowCommands,
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
    rules_file,
)
from pyconquest_rules.errors import UsageError

if TYPE_CHECKING:
    from pyconquest_rules.engine.overview import Group
    from pyconquest_rules.engine.plan import Plan
    from pyconquest_rules.events import Emit


def apply(
    context: typer.Context,
    targets: Targets = None,
    saved: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Carry out a saved plan, unless it is stale.")
    ] = None,
    no_index: NoIndex = False,
    locked: Locked = False,
    allow_vanish: AllowVanish = False,
    allow_prune: AllowPrune = False,
    allow_commands: AllowCommands = False,
    today: Today = None,
    json: Json = False,
) -> None:
    """Carry out the plan.

    Updates the index and plans first. Retrievals run before the other actions are planned.
    A second run does nothing. A run after a kill does exactly the rest.
    Exits with 1 if steps failed or are blocked, or if DICOM files could not be indexed, 4 if an expectation failed or --locked
    finds a difference, 5 if the plan is stale, 6 if another run is active.
    """
    from pyconquest_rules import app
    from pyconquest_rules.engine.findings import exit_code
    from pyconquest_rules.engine.overview import overview

    shown, chosen = renderer(context, json), tuple(targets or ())
    if saved and targets:
        raise UsageError("a saved plan already has its targets; leave them out")
    if saved and today:
        raise UsageError("a saved plan already has its day; leave --today out")
    blocked = list["Group"]()
    with app.remembered(rules_file(context).resolve().parent, chosen) as run:
        loaded = rules(context, today)
        loaded.chosen(chosen)  # report an unknown target before anything is read
        if locked:
            app.check_locked(loaded, chosen)
        with app.running(loaded):
            refused = brought_up_to_date(shown, loaded, no_index=no_index, allow_vanish=allow_vanish)

            def plans(emit: "Emit") -> Iterator["Plan"]:
                allowed = {"allow_vanish": allow_vanish, "allow_commands": allow_commands}
                stages = app.stages(loaded, chosen, allow_prune=allow_prune, **allowed, emit=emit)
                for made in [app.load_plan(loaded, saved, **allowed, emit=emit)] if saved else stages:
                    if locked:
                        app.compare(loaded, made)
                    yield made
                    blocked.extend(overview(made, blocked=True))

            with shown.progress() as emit:
                result = app.apply(loaded, plans(emit), targets=chosen, emit=emit, result=run)
    shown.blocked(blocked)
    shown.applied(result)
    end(exit_code(result.counts, [refused, *result.asserted], interrupted=result.interrupted))
