"""`check`: validate the rules file."""

from enum import StrEnum
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, choice, end, renderer, rules_file
from pyconquest_rules.errors import Error, RulesError, UsageError


class Format(StrEnum):
    """Another form of the output."""

    GITHUB = "github"


def check(
    context: typer.Context,
    form: Annotated[
        Format | None, typer.Option("--format", help="Print errors as workflow commands of GitHub, on standard output.")
    ] = None,
    json: Json = False,
) -> None:
    """Validate the rules file.

    Needs no data and no network. Reports all errors at once, each with its position. Exits with 2 if there are any.
    Without --profile, the rules are checked with each of their profiles too.
    """
    from pyconquest_rules import app

    shown = renderer(context, json)
    if form is None:
        checked = app.check(rules_file(context), context.obj.database, choice(context))
    else:
        from pyconquest_rules.render.github import GitHub

        if json or context.obj.quiet:
            raise UsageError("--format is a form of its own: leave it, or --json and --quiet, out")
        shown = annotated = GitHub()
        try:
            checked = app.check(rules_file(context), context.obj.database, choice(context))
        except RulesError as error:
            annotated.problems(error.problems)
            end(error.exit_code)
        except Error as error:
            annotated.error(str(error), error.exit_code)
            end(error.exit_code)
    counts = {"sources": len(checked.trees), "sets": len(checked.selections), "actions": len(checked.actions)}
    kinds = {"expectations": "expect", "releases": "release"}
    shown.checked(counts | {what: len(checked.of_kind[kind]) for what, kind in kinds.items()})
