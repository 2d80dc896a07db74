"""The protocols of the kinds of this program: tables of the rules file, most of which are actions."""

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from pyconquest_rules.engine import kinds as engine
from pyconquest_rules.rules import kinds as rules

if TYPE_CHECKING:
    from pyconquest_rules.rules.fields import Table
    from pyconquest_rules.rules.rules import Rules

T = TypeVar("T", bound="Table")

Kind: TypeAlias = rules.TableKind[Any]
Planning: TypeAlias = "engine.Planning[Rules]"
Running: TypeAlias = "engine.Running[Rules]"


class AssertingKind(rules.TableKind[T], engine.AssertingKind[T, "Rules"], Protocol[T]):
    """A kind whose tables are assertions about the data: evaluated for each plan, which they may hold back."""


class ActionKind(rules.TableKind[T], engine.ActionKind[T, "Rules"], Protocol[T]):
    """A kind whose tables are actions: planned, carried out, and recorded in the ledger."""
