"""`schema`: print the JSON Schema of the rules file."""

from json import dumps

import typer

from pyconquest_rules.cli.common import Json


def schema(context: typer.Context, json: Json = False) -> None:
    """Print the JSON Schema of the rules file.

    Editors use it: save it and begin the rules file with `#:schema ./rules.schema.json`.
    """
    from pyconquest_rules.kinds.all import kinds
    from pyconquest_rules.rules.json_schema import json_schema

    context.obj.json = json
    typer.echo(dumps(json_schema(kinds()), indent=None if json else 2, ensure_ascii=False))
