"""`schema`: the JSON Schema of the rules file."""

import json as json_text

import typer


def schema() -> None:
    """Prints the JSON Schema of the rules file, for editors: begin the file with `#:schema ./rules.schema.json`."""
    from pyconquest_rules.rules.model import json_schema

    typer.echo(json_text.dumps(json_schema(), indent=2, ensure_ascii=False))
