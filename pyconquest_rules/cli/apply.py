"""`apply`: does what is to be done."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
        Path | None, typer.Option("--plan", metavar="FILE", help="Do a plan that was saved; refused when it is stale.")
    ] = None,
    no_index: NoIndex = False,
    allow_vanish: AllowVanish = False,
    allow_prune: AllowPrune = False,
    today: Today = None,
    json: Json = False,
) -> None:
    """Does what is to be done.

    Brings the index up to date and plans first; what is retrieved comes before the rest is planned.
    A second run does nothing; a run after a kill does the rest.
    Exits with 1 if steps failed or are blocked, or DICOM files could not be indexed, 5 for a stale plan, 6 while another run
    goes on.
    """
    from pyconquest_rules import app
    from pyconquest_rules.engine.findings import exit_code
    from pyconquest_rules.engine.overview import overview

    shown, chosen = renderer(context, json), tuple(targets or ())
    if saved and targets:
        raise UsageError("a saved plan has its targets already; leave them out")
    if saved and today:
        raise UsageError("a saved plan has its day already; leave --today out")
    blocked = list["Group"]()
    with app.remembered(rules_file(context).resolve().parent, chosen) as run:
        loaded = rules(context, today)
        loaded.chosen(chosen)  # a target that names nothing is told before anything is read
        with app.running(loaded):
            refused = brought_up_to_date(shown, loaded, no_index=no_index, allow_vanish=allow_vanish)

            def plans(emit: "Emit") -> Iterator["Plan"]:
                stages = app.stages(loaded, chosen, allow_prune=allow_prune, allow_vanish=allow_vanish, emit=emit)
                for made in [app.load_plan(loaded, saved, allow_vanish=allow_vanish, emit=emit)] if saved else stages:
                    yield made
                    blocked.extend(overview(made, blocked=True))

            with shown.progress() as emit:
                result = app.apply(loaded, plans(emit), targets=chosen, emit=emit, result=run)
    shown.blocked(blocked)
    shown.applied(result)
    end(exit_code(result.counts, [refused], interrupted=result.interrupted))
