"""`explain`: explain one file or UID."""

from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, Today, renderer, rules


def explain(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="PATH|UID", help="A file of a source, a destination, a UID, or a PatientID.")],
    today: Today = None,
    json: Json = False,
) -> None:
    """Explain one file or UID: its sets, steps and destinations.

    Shows the sets of an instance, its values if a set does not have it, and the destination and the reason for each action.
    Names the steps that a step collides with.
    """
    from pyconquest_rules import app

    renderer(context, json).explained(app.explain(rules(context, today), what))
