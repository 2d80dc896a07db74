"""`plan`: says what would be done, and why."""

from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import FAILED, PENDING, AllowPrune, AllowVanish, Json, NoIndex, Targets, end, renderer, rules
from pyconquest_rules.steps import Status


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
    allow_vanish: AllowVanish = False,
    allow_prune: AllowPrune = False,
    json: Json = False,
) -> None:
    """Says what would be done, and why.

    Blocked and changed steps come first. Writes nothing but the index and FILE. Exits with 1 if steps are blocked, if
    files could not be read, if most of an output vanished, or if there is too little free space.
    """
    shown, loaded = renderer(context, json), rules(context)
    from pyconquest_rules import app
    from pyconquest_rules.index.workers import processes

    loaded.chosen(tuple(targets or ()))  # a target that names nothing is told before anything is read
    unread = 0
    if not no_index:
        with shown.progress() as emit:
            indexed = app.index(loaded, allow_vanish=allow_vanish, workers=processes, emit=emit)
        shown.refused(indexed)
        unread = indexed.unread
    with shown.progress() as emit:
        allowed = {"allow_prune": allow_prune, "allow_vanish": allow_vanish}
        made = app.plan(loaded, tuple(targets or ()), **allowed, emit=emit)
    with made:
        shown.planned(made, steps=steps)
        if output:
            made.save(output)
        counts, findings = made.counts().values(), made.findings
    blocked, todo = (any(of[status] for of in counts) for status in (Status.BLOCKED, Status.TODO))
    end(FAILED if blocked or unread or findings else PENDING if todo and detailed_exitcode else 0)
