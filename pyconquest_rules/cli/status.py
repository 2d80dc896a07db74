"""`status`: show the state of each action."""

import typer

from pyconquest_rules.cli.common import Json, Targets, Today, end, renderer, rules


def status(context: typer.Context, targets: Targets = None, today: Today = None, json: Json = False) -> None:
    """Show the state of each action.

    Counts the steps done, due, blocked and failed, from the ledger and the current index. Shows the results
    of the expectations too. Exits with 1 if DICOM files could not be indexed, unless the rules accept that, and with 4 if an
    expectation failed.
    """
    from pyconquest_rules import app
    from pyconquest_rules.engine.findings import exit_code

    shown, loaded = renderer(context, json), rules(context, today)
    (actions, asserted), refused = app.status(loaded, tuple(targets or ())), app.refusals(loaded)
    shown.refused(refused)
    shown.status(actions, refused, asserted)
    end(exit_code({}, [refused, *asserted]))
