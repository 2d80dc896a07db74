"""The protocol of a kind of table, such as `[copy.NAME]`, as far as the rules file needs it. The kinds are in `kinds/`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as File
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pyconquest_rules.errors import Problem

if TYPE_CHECKING:
    from pyconquest_rules.rules.fields import Table
    from pyconquest_rules.rules.places import Places
    from pyconquest_rules.rules.positions import Path
    from pyconquest_rules.rules.sets import CheckedSets

T = TypeVar("T", bound="Table")


class Action(Protocol):
    """A table that plans and carries out steps. These are the properties that actions of all kinds have."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The actions that must have succeeded before this one."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Words that select this action as a target: `tag:WORD`."""

    @property
    def fingerprint(self) -> str:
        """A digest of the keys that determine the result of a step. If it changes, the steps are due again."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The rest of the file, for the check of a kind. `tables` has the valid tables by kind and name, `sets` the checked sets."""

    places: "Places"
    tables: Mapping[str, Mapping[str, Any]]
    params: Mapping[str, str]
    acting: frozenset[str]
    """The kinds whose tables are actions."""
    sets: "CheckedSets"
    names: Mapping["Path", frozenset[str]]
    """The names that each valid template uses, by its path in the file."""


class TableKind(Protocol[T]):
    """A kind of table. The types of fields are checked alike for all kinds; `check` is for everything else."""

    name: str
    """The word of the rules file: `copy` for `[copy.NAME]`."""
    summary: str
    """A description of its tables, for the JSON Schema."""
    acts: bool = True
    """Whether its tables are actions: they are planned and carried out, and can be a TARGET."""

    @property
    def model(self) -> type[T]:
        """The class of its tables. It is imported lazily, so that `--help` stays fast."""
        ...

    def check(self, table: T, place: "Path", seen: Seen) -> Iterator[Problem]:
        """Yield the problems of a table that the types of its fields do not find."""
        yield from ()

    def bound(self, table: T, base: File, params: Mapping[str, str]) -> T:
        """Return a valid table with the values of variables filled in, and with paths of files below `base` made absolute."""
        return table
