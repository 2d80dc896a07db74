"""`verify`: proves what was done."""

from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, Targets, end, renderer, rules
from pyconquest_rules.cli.output import Force, saving
from pyconquest_rules.errors import UsageError


def verify(
    context: typer.Context,
    targets: Targets = None,
    deep: Annotated[bool, typer.Option("--deep", help="Compare the SHA-256 of every file, not only size and mtime.")] = False,
    share: Annotated[
        str | None,
        typer.Option(
            "--subset",
            metavar="N/M|P%",
            help="Look at a share of the files: the N-th of M parts, so that M runs see all, or a random P percent.",
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Plan what mends what is found: shown as by plan, done by the next apply.")
    ] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="Show every destination that is not as it should be; on a terminal they always are.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Save that plan, for: apply --plan FILE")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Compares what was done with what is there.

    Finds destinations that are missing or changed, and extra files. Exits with 1 where it finds any. Writes nothing to the
    outputs, also with --repair: that is for apply.
    """
    from pyconquest_rules import app
    from pyconquest_rules.engine.findings import exit_code
    from pyconquest_rules.engine.mending import Mending
    from pyconquest_rules.engine.subset import subset
    from pyconquest_rules.engine.verify import every
    from pyconquest_rules.engine.watching import Watch

    if output and not repair:
        raise UsageError("-o saves the plan of --repair; say --repair too")
    shown, looked_at = renderer(context, json), every if share is None else subset(share)
    loaded, chosen = rules(context), tuple(targets or ())
    watch = Watch(loaded.outputs)
    if not repair:
        found = watch.noted(app.verify(loaded, chosen, deep=deep, looked_at=looked_at))
        shown.verified(found, watch.vanished, listed=listed)
    else:
        with app.running(loaded), saving(loaded, output, force=force) as file:
            mending = Mending()
            found = watch.noted(app.verify(loaded, chosen, deep=deep, looked_at=looked_at, mending=mending))
            shown.verified(found, watch.vanished, listed=listed, last=False)
            with app.plan(loaded, chosen) as made:
                shown.mending(watch.counts, made, app.unmended(mending, made), listed=listed)
                if file:
                    made.save(file)
    end(exit_code(watch.counts))
