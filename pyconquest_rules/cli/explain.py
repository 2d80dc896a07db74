"""`explain`: all about one file or UID."""

from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, Today, renderer, rules


def explain(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="PATH|UID", help="A file of a source, a destination, a UID, or a PatientID.")],
    today: Today = None,
    json: Json = False,
) -> None:
    """Says all about one file or UID.

    Shows which sets an instance is in, what it has where a set does not hold it, where each action puts it, and why.
    Names the steps that a step collides with.
    """
    from pyconquest_rules import app

    renderer(context, json).explained(app.explain(rules(context, today), what))
