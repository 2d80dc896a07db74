"""What a name of the command line stands for in the rules."""

from collections.abc import Mapping
from typing import TypeVar

from pyconquest_rules.errors import UsageError, did_you_mean

T = TypeVar("T")


def named(what: str, name: str, known: Mapping[str, T]) -> T:
    """The node, listener or source that has a name. Raises UsageError where none has, which says what they are called."""
    if name not in known:
        hint = did_you_mean(name, known) or f"{what}s are: {', '.join(known) or 'none'}"
        raise UsageError(f'no {what} is called "{name}"; {hint}')
    return known[name]
