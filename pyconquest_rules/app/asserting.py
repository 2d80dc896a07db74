"""Evaluate the assertions of the rules on the index, and find one by its name."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from pyconquest_rules.answers import Asserted
from pyconquest_rules.engine.assertions import Assertion, evaluate
from pyconquest_rules.index.query.expansion import MISSING
from pyconquest_rules.index.query.selection import Selection, Sets
from pyconquest_rules.index.store.tokens import words
from pyconquest_rules.kinds.all import ASSERTIONS, kind_of
from pyconquest_rules.rules.rules import Rules

LACKING = {
    "error": 'reference without a target in the index; index the files, or set incomplete to "warn" or "skip"',
    "warn": "reference without a target in the index",
    "skip": "reference without a target in the index; incomplete series are left out",
}
"""What a row of an incomplete set is, by `incomplete`."""


class Stage(Enum):
    """Which of the plans of a run a plan is. Only retrievals are planned before the last one."""

    PREVIEW = "preview"
    """It is not carried out, so no assertion is evaluated."""
    RETRIEVALS = "retrievals"
    """Another plan follows, on an index that has more. It evaluates the assertions that hold back nothing."""
    LAST = "last"


def asserted(rules: Rules, actions: Iterable[str], sets: Sets, stage: Stage = Stage.LAST) -> tuple[Asserted, ...]:
    """Return the results of the assertions that hold back any of some actions, or nothing at all.

    Raises Mistake for a query that fails on the data.
    """
    planned, found = {*actions} if stage is not Stage.PREVIEW else set[str](), list[Asserted]()
    for each, holds in _complete(rules):
        if not planned.isdisjoint(holds):
            found.append(evaluate(each, holds, sets))
    # A retrieval may bring what is missing, so only an assertion that names it holds it back.
    local = tuple(name for name in rules.actions if not kind_of(name).remote)
    for kind in ASSERTIONS:
        for name, table in rules.of_kind[kind.name].items():
            holds = local if (named := kind.holds(table)) is None else named
            if not planned.isdisjoint(holds) or (not holds and stage is Stage.LAST):
                found.append(evaluate(kind.assertion(f"{kind.name}.{name}", table, rules, sets), holds, sets))
    return tuple(found)


def assertion_of(rules: Rules, name: str, sets: Sets) -> Assertion | None:
    """Return an assertion by its name, as in `query NAME`; None if there is none."""
    for each, _ in _complete(rules):
        if each.name == name:
            return each
    word, _, of = name.partition(".")
    for kind in ASSERTIONS:
        if kind.name == word and of in rules.of_kind[word]:
            return kind.assertion(name, rules.of_kind[word][of], rules, sets)
    return None


def assertion_names(rules: Rules) -> list[str]:
    """Return the names of the assertions, as in `query NAME`."""
    expanded = [each.name for each, _ in _complete(rules)]
    return [*expanded, *(f"{kind.name}.{name}" for kind in ASSERTIONS for name in rules.of_kind[kind.name])]


def _complete(rules: Rules) -> Iterator[tuple[Assertion, tuple[str, ...]]]:
    """Yield an assertion for each expanded set: the index has everything that its series name. Yield what it holds back, too.

    That is the actions that select the set, directly or through other sets.
    """
    selected = {name: kind_of(name).selects(action) for name, action in rules.actions.items()}
    made_of = {name: _made_of(rules.selections, of) for name, of in selected.items() if of is not None}
    for name, selection in rules.selections.items():
        if selection.source is not None:
            holds = tuple(action for action, names in made_of.items() if name in names)
            query, severe = f'SELECT * FROM "{name}{MISSING}"', selection.incomplete == "error"
            yield Assertion(f"select.{name}", query, {}, 0, severe, LACKING[selection.incomplete]), holds


def _made_of(selections: Mapping[str, Selection], name: str) -> set[str]:
    """Return a set and all sets that it is made of, directly or through others."""
    found, pending = {name}, [name]
    while pending:
        selection = selections[pending.pop()]
        more = {selection.source or "", *words(selection.text)} & {*selections} - found
        found |= more
        pending += more
    return found
