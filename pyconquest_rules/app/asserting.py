"""Evaluate the assertions of the rules on the index, and find one by its name."""

from collections.abc import Iterable
from enum import Enum

from pyconquest_rules.answers import Asserted
from pyconquest_rules.engine.assertions import Assertion, evaluate
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.kinds.all import ASSERTIONS, kind_of
from pyconquest_rules.rules.rules import Rules


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
    word, _, of = name.partition(".")
    for kind in ASSERTIONS:
        if kind.name == word and of in rules.of_kind[word]:
            return kind.assertion(name, rules.of_kind[word][of], rules, sets)
    return None


def assertion_names(rules: Rules) -> list[str]:
    """Return the names of the assertions, as in `query NAME`."""
    return [f"{kind.name}.{name}" for kind in ASSERTIONS for name in rules.of_kind[kind.name]]
