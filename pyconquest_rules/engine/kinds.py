"""The protocol of a kind of action: what it requests for a plan, and what does the steps that become of that.

The engine knows no kind, and nothing of the rules: they are whatever the kinds take for them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

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
    """What there is to plan an action with: the rules, the plan it is added to, the index and the ledger."""

    rules: R_co
    plan: "Plan"
    sets: "Sets"
    ledger: "Ledger"
    emit: Emit
    allow_prune: bool


@dataclass(frozen=True, slots=True)
class Running(Generic[R_co]):
    """What there is to do steps with: the rules, the index, opened anew each time, and the local time."""

    rules: R_co
    opened: "Callable[[], AbstractContextManager[Sets]]"
    clock: Callable[[], datetime]


class ActionKind(Protocol[A_contra, R_contra]):
    """A kind of action. `name` is what the names of its actions begin with: `copy` for `copy.export`."""

    name: str
    remote: bool = False
    """Whether only a node knows what there is to do: its actions come first, and offline they are not planned."""

    def selects(self, action: A_contra) -> str | None:
        """Return the set whose instances an action is for, if it is for a set."""
        return None

    def prunes(self, action: A_contra) -> bool | None:
        """Return whether files that an action made are removed once its set has lost them; None if it makes no files."""
        return None

    def requests(self, name: str, action: A_contra, planning: Planning[R_contra]) -> Iterator[Request]:
        """Add an action to the plan, at once; return what it requests, instance by instance."""
        ...

    def executor(self, name: str, action: A_contra, running: Running[R_contra]) -> "Executor":
        """Return what does the steps of an action. What takes long to import is imported here."""
        ...
