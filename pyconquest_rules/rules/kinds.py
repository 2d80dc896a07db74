"""What a rules file needs to know of a kind of table, as `[copy.NAME]`. The kinds themselves are above."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as File
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pyconquest_rules.errors import Problem

if TYPE_CHECKING:
    from pyconquest_rules.rules.fields import Table
    from pyconquest_rules.rules.places import Places
    from pyconquest_rules.rules.positions import Path

T = TypeVar("T", bound="Table")


class Action(Protocol):
    """A table that says what is to be done: what those of all kinds have."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The actions that must have succeeded before this one."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Words by which it can be chosen."""

    @property
    def fingerprint(self) -> str:
        """A digest of what decides the result of a step; another one makes the steps due again."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the check of a kind sees of the rest of the file: `tables` by kind and name, as far as they are valid."""

    places: "Places"
    tables: Mapping[str, Mapping[str, Any]]
    params: Mapping[str, str]
    acting: frozenset[str]
    """The kinds whose tables are actions."""


class TableKind(Protocol[T]):
    """A kind of table. Field types are checked for all kinds alike; `check` is for the rest."""

    name: str
    """The word of the rules file: `copy` for `[copy.NAME]`."""
    summary: str
    """What its tables are, for the JSON Schema and the docs."""
    acts: bool = True
    """Whether its tables are actions, which are planned and done, and can be a TARGET."""

    @property
    def model(self) -> type[T]:
        """The class of its tables. Imported late: `--help` needs no models."""
        ...

    def check(self, table: T, place: "Path", seen: Seen) -> Iterator[Problem]:
        """Yield what is wrong with a table, beyond what the types of its fields say."""
        yield from ()

    def bound(self, table: T, base: File, params: Mapping[str, str]) -> T:
        """Return a valid table with the values of variables, and with files that count from `base`."""
        return table
