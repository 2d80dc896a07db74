"""The protocol of a kind of action: what it requests for a plan, and what carries out the resulting steps.

The engine knows neither the kinds nor the rules, whose type is a parameter.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pyconquest_rules.engine.assertions import Assertion
from pyconquest_rules.events import Emit
from pyconquest_rules.steps import Request

if TYPE_CHECKING:
    from pyconquest_rules.engine.ledger import Ledger
    from pyconquest_rules.engine.plan import Plan
    from pyconquest_rules.engine.runner import Executor
    from pyconquest_rules.index.query.selection import Sets

A_contra = TypeVar("A_contra", contravariant=True)
R_contra = TypeVar("R_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Planning(Generic[R_co]):
    """What an action is planned with: the rules, the plan that it is added to, the index and the ledger.

    `in_time` passes on what a kind makes before its first request. It raises Mistake when the processor time of the plan is used
    up.
    """

    rules: R_co
    plan: "Plan"
    sets: "Sets"
    ledger: "Ledger"
    emit: Emit
    allow_prune: bool
    in_time: Callable[[Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class Running(Generic[R_co]):
    """What steps are carried out with: the rules, the index, which is opened for each use, and the local time."""

    rules: R_co
    opened: "Callable[[], AbstractContextManager[Sets]]"
    clock: Callable[[], datetime]


class ActionKind(Protocol[A_contra, R_contra]):
    """A kind of action. `name` is the first part of the names of its actions: `copy` of `copy.export`."""

    name: str
    outcomes: tuple[str, ...]
    """The words by which its steps are counted when they are done, such as `copied`."""
    remote: bool = False
    """Whether only a node knows what there is to do. Such actions come first, and are not planned offline."""

    def selects(self, action: A_contra) -> str | None:
        """Return the set that an action selects, if it selects one."""
        return None

    def prunes(self, action: A_contra) -> bool | None:
        """Return whether an action removes files that its set no longer has; None if it makes no files."""
        return None

    def requests(self, name: str, action: A_contra, planning: Planning[R_contra]) -> Iterator[Request]:
        """Add an action to the plan immediately; return an iterator over its requests, one for each instance."""
        ...

    def executor(self, name: str, action: A_contra, running: Running[R_contra]) -> "Executor":
        """Return what carries out the steps of an action. Slow imports belong here."""
        ...


class AssertingKind(Protocol[A_contra, R_contra]):
    """A kind whose tables are assertions about the data. A plan has their results as findings."""

    name: str

    def holds(self, table: A_contra) -> tuple[str, ...] | None:
        """Return the actions that are held back if the assertion fails; None for all that query no node."""
        ...

    def assertion(self, name: str, table: A_contra, rules: R_contra, sets: "Sets") -> Assertion:
        """Return the assertion of a table. Raises Mistake if its query cannot be made."""
        ...
