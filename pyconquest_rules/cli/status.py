"""`status`: where the actions stand."""

import typer

from pyconquest_rules.cli.common import Json, Targets, Today, end, renderer, rules


def status(context: typer.Context, targets: Targets = None, today: Today = None, json: Json = False) -> None:
    """Shows where each action stands.

    Steps done, due, blocked and failed, by the ledger and the index as it is. Exits with 1 as long as DICOM files could not
    be indexed, unless the rules accept that.
    """
    from pyconquest_rules import app
    from pyconquest_rules.engine.findings import exit_code

    shown, loaded = renderer(context, json), rules(context, today)
    actions, refused = app.status(loaded, tuple(targets or ())), app.refusals(loaded)
    shown.refused(refused)
    shown.status(actions, refused)
    end(exit_code({}, [refused]))
