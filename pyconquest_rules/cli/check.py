"""`check`: validate the rules file."""

import typer

from pyconquest_rules.cli.common import Json, renderer, rules


def check(context: typer.Context, json: Json = False) -> None:
    """Validate the rules file.

    Needs no data and no network. Reports all errors at once, each with its position. Exits with 2 if there are any.
    """
    shown = renderer(context, json)
    checked = rules(context)
    shown.checked({"sources": len(checked.trees), "sets": len(checked.selections), "actions": len(checked.actions)})
