"""`export`: write rows of the index to a file."""

from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, Today, renderer, rules
from pyconquest_rules.cli.output import Force, writing
from pyconquest_rules.errors import UsageError
from pyconquest_rules.index.query.export import SUFFIXES, Format


def export(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TABLE|SELECT|SQL", help="A table, view, set or expectation, or one SELECT.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help='The file; "-" is standard output.')],
    form: Annotated[Format | None, typer.Option("--format", help="Default: by the suffix of the file.")] = None,
    today: Today = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write rows of the index to a file.

    The file is CSV, JSON lines or Parquet. It appears only when it is complete, and replaces the file of an earlier export.
    """
    from pyconquest_rules import app

    shown = renderer(context, json)
    chosen = form or SUFFIXES.get(output.suffix.lower())
    if chosen is None:
        raise UsageError(f"unknown suffix of {output}; use {', '.join(SUFFIXES)}, or --format")
    loaded = rules(context, today)
    with writing(loaded, output, force=force, json=json) as file:
        number = app.export(loaded, text, file, chosen)
    shown.exported(output, number)
