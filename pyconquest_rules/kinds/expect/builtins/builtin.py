"""What a builtin expectation is: the keys that it has, and the query that it stands for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from pyconquest_rules.errors import Mistake

if TYPE_CHECKING:
    from pyconquest_rules.index.query.selection import Sets
    from pyconquest_rules.index.query.sql import Values
    from pyconquest_rules.kinds.expect.rule import Expect


class Name(StrEnum):
    """The name of a builtin, in a rules file."""

    RT_CHAIN = "rt-chain"
    ONE_VOLUME = "one-volume"
    UNIQUE_INSTANCE_NUMBERS = "unique-instance-numbers"
    NO_CONFLICTS = "no-conflicts"
    NO_CONTRADICTIONS = "no-contradictions"
    NO_BURNED_IN = "no-burned-in"
    TIMEPOINTS = "timepoints"
    READABLE = "readable"


class Query(NamedTuple):
    """A query for rows that should not be there. Its last column, `problem`, says in plain words what is wrong."""

    text: str
    params: "Values"


@dataclass(frozen=True, slots=True)
class Given:
    """An expectation, the sets of the rules, and the keys of their CSV tables by name."""

    expect: "Expect"
    sets: "Sets"
    keys: Mapping[str, tuple[str, ...]]

    @property
    def on(self) -> str:
        """The set that the expectation is about."""
        return self.expect.on or ""

    def within(self, alias: str) -> str:
        """Return the condition on `images AS alias` that the set selects the instance."""
        from pyconquest_rules.index.query.membership import within

        return within(self.sets, self.on, alias)


@dataclass(frozen=True, slots=True)
class Builtin:
    """A builtin: the keys that it needs and those that it may have, beside those of every expectation.

    `query` raises Mistake if a set or a table does not fit.
    """

    query: Callable[[Given], Query]
    needs: tuple[str, ...] = ("on",)
    takes: tuple[str, ...] = ()


class KeyMistake(Mistake):
    """An error in the value of a key of an expectation."""

    def __init__(self, key: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.key = key
