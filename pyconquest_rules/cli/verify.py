"""`verify`: proves what was done."""

from typing import Annotated

import typer

from pyconquest_rules.cli.common import FAILED, Json, Targets, end, renderer, rules


def verify(
    context: typer.Context,
    targets: Targets = None,
    deep: Annotated[bool, typer.Option("--deep", help="Compare the SHA-256 of every file, not only size and mtime.")] = False,
    json: Json = False,
) -> None:
    """Compares what was done with what is there.

    Finds destinations that are missing or changed, and extra files. Exits with 1 where it finds any.
    """
    from pyconquest_rules import app
    from pyconquest_rules.execute.verify import Finding

    counts = renderer(context, json).verified(app.verify(rules(context), tuple(targets or ()), deep=deep))
    end(FAILED if any(counts[finding] for finding in Finding if finding is not Finding.OK) else 0)
