"""The list of kinds. A kind is added by one folder beside this file, and one line in it."""

from typing import Any

from pyconquest_rules.errors import UsageError
from pyconquest_rules.kinds.archive import ArchiveKind
from pyconquest_rules.kinds.convert import ConvertKind
from pyconquest_rules.kinds.copy import CopyKind
from pyconquest_rules.kinds.expect import ExpectKind
from pyconquest_rules.kinds.kind import ActionKind, AssertingKind, Kind
from pyconquest_rules.kinds.listen import ListenKind
from pyconquest_rules.kinds.release import ReleaseKind
from pyconquest_rules.kinds.retrieve import RetrieveKind
from pyconquest_rules.kinds.send import SendKind

ACTIONS: tuple[ActionKind[Any], ...] = (
    # Retrievals come first, so that all others see what came.
    RetrieveKind(),
    CopyKind(),
    ArchiveKind(),
    ConvertKind(),
    SendKind(),
    # Releases come last: their evidence is about what all others made.
    ReleaseKind(),
)
"""The kinds of actions, in the order in which their actions are done unless one needs another."""

ASSERTIONS: tuple[AssertingKind[Any], ...] = (ExpectKind(),)
"""The kinds of assertions about the data."""

OTHERS: tuple[Kind, ...] = (ListenKind(),)
"""Kinds of tables that configure something and are neither actions nor assertions."""


def kinds() -> tuple[Kind, ...]:
    """Return all kinds."""
    return (*ACTIONS, *ASSERTIONS, *OTHERS)


def outcomes() -> tuple[str, ...]:
    """Return the words by which done steps are counted."""
    return tuple(word for kind in ACTIONS for word in kind.outcomes)


def kind_of(action: str) -> ActionKind[Any]:
    """Return the kind of an action, which is named as `copy.export`. Raises UsageError if there is none."""
    word = action.partition(".")[0]
    for kind in ACTIONS:
        if kind.name == word:
            return kind
    raise UsageError(f'no kind of action is called "{word}"')
