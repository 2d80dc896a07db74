"""`summary`: show the contents of the collection."""

import typer

from pyconquest_rules.cli.common import Json, renderer, rules


def summary(context: typer.Context, json: Json = False) -> None:
    """Show the number of series of each patient by modality."""
    from pyconquest_rules import app

    renderer(context, json).summary(app.summary(rules(context)))
