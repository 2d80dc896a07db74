"""Look up names of the command line in the rules."""

from collections.abc import Mapping
from typing import TypeVar

from pyconquest_rules.errors import UsageError, did_you_mean

T = TypeVar("T")


def named(what: str, name: str, known: Mapping[str, T]) -> T:
    """Return the node, listener or source with a name; `what` is the word for it. Raises UsageError for an unknown name."""
    if name not in known:
        hint = did_you_mean(name, known) or f"{what}s are: {', '.join(known) or 'none'}"
        raise UsageError(f'unknown {what} "{name}"; {hint}')
    return known[name]
