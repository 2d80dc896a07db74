"""`check`: validate the rules file."""

import typer

from pyconquest_rules.cli.common import Json, choice, renderer, rules_file


def check(context: typer.Context, json: Json = False) -> None:
    """Validate the rules file.

    Needs no data and no network. Reports all errors at once, each with its position. Exits with 2 if there are any.
    Without --profile, the rules are checked with each of their profiles too.
    """
    from pyconquest_rules import app

    shown = renderer(context, json)
    checked = app.check(rules_file(context), context.obj.database, choice(context))
    shown.checked({"sources": len(checked.trees), "sets": len(checked.selections), "actions": len(checked.actions)})
