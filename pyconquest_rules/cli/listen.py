"""`listen`: receive instances."""

from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, renderer, rules


def listen(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A listener of the rules. Default: the only one.")] = None,
    json: Json = False,
) -> None:
    """Receive instances (C-STORE) into a source, until Ctrl-C or SIGTERM.

    Answers with success only when the instance is on disk and in the index. Runs the actions of `then` once a study has been
    quiet.
    """
    from pyconquest_rules import app
    from pyconquest_rules.errors import UsageError

    shown, loaded = renderer(context, json), rules(context)
    listeners = loaded.of_kind["listen"]
    if name is None and len(listeners) != 1:
        raise UsageError(f"name a listener: {', '.join(listeners) or 'the rules have none'}")
    with shown.listening() as emit:
        shown.listened(app.listen(loaded, name or next(iter(listeners)), emit=emit))
