"""`history`: show earlier runs."""

from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, renderer, rules


def history(
    context: typer.Context,
    most: Annotated[int, typer.Option("-n", min=1, help="The number of runs to show.")] = 20,
    json: Json = False,
) -> None:
    """Show earlier runs of apply, newest first."""
    from pyconquest_rules.engine.ledger import Ledger

    with Ledger(rules(context).base) as ledger:
        renderer(context, json).history(ledger.runs.last(most))
