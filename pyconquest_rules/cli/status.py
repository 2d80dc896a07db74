"""`status`: where the actions stand."""

import typer

from pyconquest_rules.cli.common import Json, Targets, Today, renderer, rules


def status(context: typer.Context, targets: Targets = None, today: Today = None, json: Json = False) -> None:
    """Shows where each action stands.

    Steps done, due, blocked and failed, by the ledger and the index as it is.
    """
    from pyconquest_rules import app

    renderer(context, json).status(app.status(rules(context, today), tuple(targets or ())))
