"""`echo`: verify that a node answers."""

from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, renderer, rules


def echo(
    context: typer.Context,
    node: Annotated[str, typer.Argument(metavar="NODE", help="A node of the rules.")],
    json: Json = False,
) -> None:
    """Verify that a node answers (C-ECHO).

    If it does not answer, prints the reason and exits with 1.
    """
    from pyconquest_rules import app

    shown = renderer(context, json)
    shown.answered(node, app.echo(rules(context), node))
