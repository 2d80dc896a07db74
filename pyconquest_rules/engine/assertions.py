"""Assertions about the data: queries for rows that should not be there, and the steps that they hold back."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyconquest_rules.answers import Asserted
from pyconquest_rules.errors import Mistake
from pyconquest_rules.steps import Reason

if TYPE_CHECKING:
    from pyconquest_rules.engine.plan import Plan
    from pyconquest_rules.index.query.selection import Sets
    from pyconquest_rules.index.query.sql import Values

FIRST = 5
"""The number of rows that a result keeps, for a person to see."""

HOLD_BACK = """
UPDATE step SET status = 'blocked', reason = ?, message = ?
WHERE status = 'todo' AND action IN (SELECT number FROM action WHERE name IN (SELECT value FROM json_each(?)))
"""


@dataclass(frozen=True, slots=True)
class Assertion:
    """A query for rows that should not be there; `most` are allowed. Unless it is `severe`, more rows are only shown.

    `what` is the name of a row in the message.
    """

    name: str
    query: str
    params: "Values"
    most: int
    severe: bool
    what: str = "row that should not be there"


def evaluate(assertion: Assertion, holds: tuple[str, ...], sets: "Sets") -> Asserted:
    """Return the result of an assertion that holds back the actions `holds`.

    Raises Mistake, with its name, if the query fails on the data.
    """
    try:
        columns, rows, first = sets.counted(assertion.name, assertion.query, assertion.params, FIRST)
    except Mistake as mistake:
        text = f"{assertion.name}: {mistake}"
        raise Mistake(text, fragment=mistake.fragment, hint=mistake.hint) from None
    return Asserted(assertion.name, rows, assertion.most, assertion.severe, holds, columns, first, assertion.what)


def latest(results: Iterable[Asserted]) -> list[Asserted]:
    """Return one result of each assertion: the last one, unless only an earlier one failed, which held back steps."""
    found = dict[str, Asserted]()
    for each in results:
        if each.failed or each.name not in found or not found[each.name].failed:
            found[each.name] = each
    return [*found.values()]


def hold_back(plan: "Plan") -> None:
    """Block the todo steps that failed assertions hold back. The first one that fails gives the message."""
    for asserted in plan.asserted:
        if asserted.failed:
            values = (Reason.EXPECTATION, asserted.message, json.dumps(asserted.holds))
            plan.connection.execute(HOLD_BACK, values)
