"""`find`: query a node."""

from collections.abc import Iterator
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, renderer, rules
from pyconquest_rules.cli.query import Format, show
from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import UsageError


def find(
    context: typer.Context,
    node: Annotated[str, typer.Argument(metavar="NODE", help="A node of the rules.")],
    match: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...", help='Matching keys, such as "PatientID=P1*" or "StudyDate=20240101-"; "KEY=" only shows it.'
        ),
    ] = None,
    level: Annotated[Level, typer.Option("--level", help="The Query/Retrieve level.")] = Level.STUDY,
    form: Annotated[Format, typer.Option("--format", help="How rows are shown.")] = Format.TABLE,
    json: Json = False,
) -> None:
    """Query a node (C-FIND).

    Keys are DICOM keywords. Values may have wild cards and ranges, as the Standard defines them.
    """
    from pyconquest_rules import app

    shown = renderer(context, json or form is Format.JSON)
    with shown.progress() as emit:
        columns, rows = app.find(rules(context), node, level, dict(_pairs(match or [])), emit)
        show(shown, columns, rows, as_csv=form is Format.CSV and not json)


def _pairs(match: list[str]) -> Iterator[tuple[str, str]]:
    for pair in match:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UsageError(f'"{pair}" is not a valid KEY=VALUE; write for example PatientID=P1 or StudyDate=20240101-20241231')
        yield key, value
