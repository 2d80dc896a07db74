"""Actions that run commands on this machine: their steps are blocked unless the user allows commands."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyconquest_rules.steps import Reason

if TYPE_CHECKING:
    from pyconquest_rules.engine.plan import Plan

NOT_ALLOWED = "it runs a command: use --allow-commands if you trust the rules"

# A removal runs no command.
HOLD_BACK = """
UPDATE step SET status = 'blocked', reason = ?, message = ?
WHERE status = 'todo' AND action = (SELECT number FROM action WHERE name = ?)
    AND NOT EXISTS (SELECT 1 FROM removal WHERE removal.number = step.number)
"""


def hold_back(plan: "Plan") -> Iterator[tuple[str, str]]:
    """Block the todo steps of the actions whose commands cannot or must not run. Yield those actions that have any, and why."""
    for action, why in plan.held.items():
        if plan.connection.execute(HOLD_BACK, (Reason.COMMAND, why, action)).rowcount:
            yield action, why
