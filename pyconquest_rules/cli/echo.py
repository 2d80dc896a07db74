"""`echo`: whether a node answers."""

from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, renderer, rules


def echo(
    context: typer.Context,
    node: Annotated[str, typer.Argument(metavar="NODE", help="A node of the rules.")],
    json: Json = False,
) -> None:
    """Asks a node whether it is there (C-ECHO).

    Exits with 1 where it does not answer, and says why.
    """
    from pyconquest_rules import app

    shown = renderer(context, json)
    shown.answered(node, app.echo(rules(context), node))
