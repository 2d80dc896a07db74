"""`status`: where the actions stand."""

import typer

from pyconquest_rules.cli.common import FAILED, Json, Targets, Today, end, renderer, rules


def status(context: typer.Context, targets: Targets = None, today: Today = None, json: Json = False) -> None:
    """Shows where each action stands.

    Steps done, due, blocked and failed, by the ledger and the index as it is. Exits with 1 as long as DICOM files could not
    be indexed, unless the rules accept that.
    """
    from pyconquest_rules import app

    shown, loaded = renderer(context, json), rules(context, today)
    actions, refused = app.status(loaded, tuple(targets or ())), app.refusals(loaded)
    shown.refused(refused)
    shown.status(actions, refused)
    end(FAILED if refused else 0)
