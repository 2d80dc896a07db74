"""Evaluate the assertions of the rules on the index, and find one by its name."""

from collections.abc import Iterable, Iterator, Mapping

from pyconquest_rules.answers import Asserted
from pyconquest_rules.engine.assertions import Assertion, evaluate
from pyconquest_rules.index.query.expansion import MISSING
from pyconquest_rules.index.query.selection import Selection, Sets
from pyconquest_rules.index.store.tokens import words
from pyconquest_rules.kinds.all import ASSERTIONS, kind_of
from pyconquest_rules.rules.rules import Rules

LACKING = "reference without a target in the index"


def asserted(rules: Rules, actions: Iterable[str], sets: Sets) -> tuple[Asserted, ...]:
    """Return the results of the assertions that hold back any of some actions, or nothing at all.

    Raises Mistake for a query that fails on the data.
    """
    planned = {*actions}
    # A retrieval may bring what is missing, so only an assertion that names it holds it back.
    local = tuple(name for name in rules.actions if not kind_of(name).remote)
    found = [(each, each.holds or ()) for each in _complete(rules) if not planned.isdisjoint(each.holds or ())]
    for each in _expected(rules, sets):
        holds = local if each.holds is None else each.holds
        if not holds or not planned.isdisjoint(holds):
            found.append((each, holds))
    return tuple(evaluate(each, holds, sets) for each, holds in found)


def assertions(rules: Rules, sets: Sets) -> Iterator[Assertion]:
    """Yield the assertions of the rules: those of expanded sets, then the expectations."""
    yield from _complete(rules)
    yield from _expected(rules, sets)


def assertion_names(rules: Rules) -> list[str]:
    """Return the names of the assertions, as in `query NAME`."""
    expanded = [each.name for each in _complete(rules)]
    return [*expanded, *(f"{kind.name}.{name}" for kind in ASSERTIONS for name in rules.of_kind[kind.name])]


def _expected(rules: Rules, sets: Sets) -> Iterator[Assertion]:
    for kind in ASSERTIONS:
        for name, table in rules.of_kind[kind.name].items():
            yield kind.assertion(f"{kind.name}.{name}", table, rules, sets)


def _complete(rules: Rules) -> Iterator[Assertion]:
    """Yield an assertion for each expanded set: the index has everything that its series name.

    It holds back the actions that select the set, directly or through other sets.
    """
    selected = {name: kind_of(name).selects(action) for name, action in rules.actions.items()}
    made_of = {name: _made_of(rules.selections, of) for name, of in selected.items() if of is not None}
    for name, selection in rules.selections.items():
        if selection.source is not None:
            holds = tuple(action for action, names in made_of.items() if name in names)
            what = f"{LACKING}; incomplete series are left out" if selection.incomplete == "skip" else LACKING
            query, severe = f'SELECT * FROM "{name}{MISSING}"', selection.incomplete == "error"
            yield Assertion(f"select.{name}", query, {}, 0, severe, holds, what)


def _made_of(selections: Mapping[str, Selection], name: str) -> set[str]:
    """Return a set and all sets that it is made of, directly or through others."""
    found, pending = {name}, [name]
    while pending:
        selection = selections[pending.pop()]
        more = {selection.source or "", *words(selection.text)} & {*selections} - found
        found |= more
        pending += more
    return found
