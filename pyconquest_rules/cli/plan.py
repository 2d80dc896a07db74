"""`plan`: show the plan and the reason for each step."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from pyconquest_rules.render.renderer import Renderer


class Format(StrEnum):
    """Other forms of the plan."""

    MARKDOWN = "markdown"
    JUNIT = "junit"


Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Plan from the index as it is: connect to nothing, read no source, write nothing. Safe for unread rules.",
    ),
]
Form = Annotated[
    Format | None,
    typer.Option("--format", help="Print the plan as Markdown for a pull request, or as JUnit XML. Both have counts only."),
]


def _renderer(context: typer.Context, form: Format | None, *, steps: bool, json: bool) -> "Renderer":
    """Return the renderer of a form. Raises UsageError if other options ask for another form."""
    if form is None:
        return renderer(context, json)
    if json or steps or context.obj.quiet:
        raise UsageError("--format is a form of its own: leave it, or --json, --list and --quiet, out")
    if form is Format.JUNIT:
        from pyconquest_rules.render.junit import JUnit

        return JUnit()
    from pyconquest_rules.render.markdown import Markdown

    return Markdown()


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
    offline: Offline = False,
    locked: Locked = False,
    allow_vanish: AllowVanish = False,
    allow_prune: AllowPrune = False,
    today: Today = None,
    force: Force = False,
    form: Form = None,
    json: Json = False,
) -> None:
    """Show the plan and the reason for each step.

    Blocked and changed steps come first. Writes only the index and FILE, and nothing at all with --offline.
    Exits with 1 if steps are blocked, DICOM files could not be indexed, most of an output vanished, or there is not enough
    free space. Exits with 4 if an expectation failed or --locked finds a difference.
    """
    if offline and locked:
        raise UsageError("--locked reads sources: leave --offline or --locked out")
    if offline and output:
        raise UsageError("a plan of --offline cannot be saved: leave --offline or --output out")
    shown, loaded = _renderer(context, form, steps=steps, json=json), rules(context, today)
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
            try:
                if locked:
                    app.compare(loaded, made, listed=steps)
            finally:  # a CI server shows the plan although it differs from the lock
                shown.planned(made, steps=steps)
            if file:
                app.save(made, file)
            counts, findings = made.statuses(), [*made.findings, *made.asserted, refused]
    end(exit_code(counts, findings, pending=detailed_exitcode))
