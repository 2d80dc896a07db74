"""What an action requests of the instances that it is for: files, their delivery to a node, or their retrieval from one."""

from dataclasses import dataclass
from typing import TypeAlias

from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.steps import Mode, OnChanged, OnConflict, Reason
from pyconquest_rules.templates import BadValue, MissingValue, RenderError


@dataclass(frozen=True, slots=True)
class Files:
    """An action that makes files.

    `prune`: files that no action requests any more are removed if they are at most half of what the action made; True: however
    many they are; None: never.
    """

    mode: Mode
    on_conflict: OnConflict
    on_changed: OnChanged
    prune: bool | None = None


@dataclass(frozen=True, slots=True)
class AtNode:
    """An action that delivers instances to a node, named by AE title, host and port. `confirm`: its answer is not enough."""

    node: str
    confirm: bool


@dataclass(frozen=True, slots=True)
class FromNode:
    """An action that retrieves instances from a node into a source."""

    node: str
    into: str


Requested: TypeAlias = Files | AtNode | FromNode
"""What an action requests of every instance."""


def reason_of(error: RenderError | UnsafePath) -> Reason:
    """Return the reason of a step whose template does not render a path."""
    match error:
        case MissingValue():
            return Reason.MISSING_VALUE
        case BadValue():
            return Reason.BAD_VALUE
    return Reason.UNSAFE_PATH
