"""`query`: SQL over the index."""

import csv
import sys
from enum import StrEnum
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, renderer, rules


class Format(StrEnum):
    """How rows are shown."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def query(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="SQL|SELECT", help="One SELECT, or the name of a set of the rules.")],
    form: Annotated[Format, typer.Option("--format", help="How rows are shown.")] = Format.TABLE,
    json: Json = False,
) -> None:
    """Asks the index in SQL, read-only.

    It has the views patients, studies, series and images, Conquest's tables, and the sets of the rules by name.
    """
    from pyconquest_rules import app

    shown = renderer(context, json or form is Format.JSON)
    with app.query(rules(context), text) as (columns, rows):
        if form is Format.CSV and not json:
            writer = csv.writer(sys.stdout)
            writer.writerow(columns)
            writer.writerows(rows)
        else:
            shown.rows(columns, rows)
