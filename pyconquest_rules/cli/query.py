"""`query`: query the index in SQL."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pyconquest_rules.cli.common import Json, Today, renderer, rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyconquest_rules.index.query.sql import Row
    from pyconquest_rules.render.renderer import Renderer


class Format(StrEnum):
    """The format of rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def query(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="SQL|SELECT", help="One SELECT, or a set, table, view or expectation.")],
    form: Annotated[Format, typer.Option("--format", help="The format of the rows.")] = Format.TABLE,
    today: Today = None,
    json: Json = False,
) -> None:
    """Query the index in SQL, read-only.

    The index has the views patients, studies, series and images, Conquest's tables, and the sets of the rules by name.
    For an expectation, such as expect.NAME, the rows that should not be there are printed.
    """
    from pyconquest_rules import app

    shown = renderer(context, json or form is Format.JSON)
    with app.query(rules(context, today), text) as (columns, rows):
        show(shown, columns, rows, as_csv=form is Format.CSV and not json)


def show(shown: "Renderer", columns: tuple[str, ...], rows: "Iterator[Row]", *, as_csv: bool) -> None:
    """Print rows in the requested format."""
    if as_csv:
        from pyconquest_rules.index.query.export import write_csv

        write_csv(columns, rows, sys.stdout)
    else:
        shown.rows(columns, rows)
