"""Evaluate the assertions of the rules on the index, and find one by its name."""

from collections.abc import Iterable, Iterator

from pyconquest_rules.answers import Asserted
from pyconquest_rules.engine.assertions import Assertion, evaluate
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.kinds.all import ASSERTIONS, kind_of
from pyconquest_rules.rules.rules import Rules


def asserted(rules: Rules, actions: Iterable[str], sets: Sets) -> tuple[Asserted, ...]:
    """Return the results of the assertions that hold back any of some actions, or nothing at all.

    Raises Mistake for a query that fails on the data.
    """
    planned, found = {*actions}, list[Asserted]()
    # A retrieval may bring what is missing, so only an assertion that names it holds it back.
    local = tuple(name for name in rules.actions if not kind_of(name).remote)
    for each in assertions(rules, sets):
        holds = local if each.holds is None else each.holds
        if not holds or not planned.isdisjoint(holds):
            found.append(evaluate(each, holds, sets))
    return tuple(found)


def assertions(rules: Rules, sets: Sets) -> Iterator[Assertion]:
    """Yield the assertions of the rules, in the order of the file."""
    for kind in ASSERTIONS:
        for name, table in rules.of_kind[kind.name].items():
            yield kind.assertion(f"{kind.name}.{name}", table, rules, sets)


def assertion_names(rules: Rules) -> list[str]:
    """Return the names of the assertions, as in `query NAME`."""
    return [f"{kind.name}.{name}" for kind in ASSERTIONS for name in rules.of_kind[kind.name]]
