"""`summary`: what the collection holds."""

import typer

from pyconquest_rules.cli.common import Json, renderer, rules


def summary(context: typer.Context, json: Json = False) -> None:
    """Shows the series of each patient by modality."""
    from pyconquest_rules import app

    renderer(context, json).summary(app.summary(rules(context)))
