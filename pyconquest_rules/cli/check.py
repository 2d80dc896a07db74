"""`check`: validates the rules."""

import typer

from pyconquest_rules.cli.common import Json, renderer, rules


def check(context: typer.Context, json: Json = False) -> None:
    """Validates the rules file; needs no data and no network. All mistakes are shown at once."""
    shown = renderer(context, json)
    checked = rules(context)
    shown.checked({"sources": len(checked.trees), "sets": len(checked.selections), "actions": len(checked.actions)})
