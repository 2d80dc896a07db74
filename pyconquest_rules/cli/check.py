"""`check`: validates the rules."""

import typer

from pyconquest_rules.cli.common import Json, renderer, rules


def check(context: typer.Context, json: Json = False) -> None:
    """Validates the rules file.

    Needs no data and no network. All mistakes are shown at once, each at its place. Exits with 2 where there are any.
    """
    shown = renderer(context, json)
    checked = rules(context)
    shown.checked({"sources": len(checked.trees), "sets": len(checked.selections), "actions": len(checked.actions)})
