"""Query the nodes of the rules: C-ECHO and C-FIND."""

from collections.abc import Iterator, Mapping
from itertools import count
from time import monotonic

from pyconquest_rules.app.naming import named
from pyconquest_rules.dicom import Level
from pyconquest_rules.events import Emit, Noted, silent
from pyconquest_rules.index.query import sql
from pyconquest_rules.kinds.retrieve.asking import skipped_words
from pyconquest_rules.network.keys import UNIQUE, check_value, known_key
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.templates import with_vars


def echo(rules: Rules, name: str) -> float:
    """Verify that a node answers (C-ECHO), and return the seconds until its answer.

    Raises UsageError for an unknown node, and NodeError if it does not answer with success.
    """
    from pyconquest_rules.network.association import echo as verify

    node, start = named("node", name, rules.nodes), monotonic()
    verify(node)
    return monotonic() - start


def find(
    rules: Rules, name: str, level: Level, match: Mapping[str, str], emit: Emit = silent
) -> tuple[tuple[str, ...], Iterator[sql.Row]]:
    """Query a node at a level (C-FIND). Return the requested keys, and an iterator over the matches with a value for each key.

    `match` has keys and values to match. If matches were skipped, an event after the last row has their number.
    Raises UsageError for an unknown node, Mistake for a key or value that cannot be queried, and NodeError if the node fails.
    """
    from pyconquest_rules.network.query import find as found

    keys = tuple(dict.fromkeys([*UNIQUE[level], *match]))
    node, skipped = named("node", name, rules.nodes), count(1)
    match = {key: _matching_value(key, value, rules) for key, value in match.items()}
    matches = found(node, level, match, skipped=lambda: next(skipped))

    def rows() -> Iterator[sql.Row]:
        yield from (tuple(row[key] for key in keys) for row in matches)
        if number := next(skipped) - 1:
            emit(Noted("", skipped_words(node, number)))

    return keys, rows()


def _matching_value(key: str, value: str, rules: Rules) -> str:
    """Return a value with variables filled in. Raises Mistake for an invalid template, key or date."""
    text = with_vars(value, rules.params)
    known_key(key)
    check_value(key, text)
    return text
