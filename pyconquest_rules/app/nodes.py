"""Asking the nodes of the rules: whether they are there, and what they have."""

from collections.abc import Iterator, Mapping
from itertools import count
from time import monotonic

from pyconquest_rules.app.naming import named
from pyconquest_rules.dicom import Level
from pyconquest_rules.events import Emit, NodeNoted, silent
from pyconquest_rules.index.query import sql
from pyconquest_rules.kinds.retrieve.asking import skipped_words
from pyconquest_rules.network.keys import UNIQUE, check_value, known_key
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.templates import with_vars


def echo(rules: Rules, name: str) -> float:
    """Asks a node whether it is there (C-ECHO); gives the seconds until its answer.

    Raises UsageError for a name that no node has, NodeError where it does not answer with success.
    """
    from pyconquest_rules.network.association import echo as ask

    node, start = named("node", name, rules.nodes), monotonic()
    ask(node)
    return monotonic() - start


def find(
    rules: Rules, name: str, level: Level, match: Mapping[str, str], emit: Emit = silent
) -> tuple[tuple[str, ...], Iterator[sql.Row]]:
    """What a node has at a level, by C-FIND: the keys that were asked for, and for each match their values.

    If matches were skipped, one event after the last row has their number.
    Raises UsageError for a name that no node has, Mistake for a key that cannot be asked for, NodeError where the node fails.
    """
    from pyconquest_rules.network.query import find as found

    keys = tuple(dict.fromkeys([*UNIQUE[level], *match]))
    node, skipped = named("node", name, rules.nodes), count(1)
    match = {key: _asked(key, value, rules) for key, value in match.items()}
    matches = found(node, level, match, skipped=lambda: next(skipped))

    def rows() -> Iterator[sql.Row]:
        yield from (tuple(row[key] for key in keys) for row in matches)
        if number := next(skipped) - 1:
            emit(NodeNoted("", skipped_words(node, number)))

    return keys, rows()


def _asked(key: str, value: str, rules: Rules) -> str:
    """A value with the values of variables. Raises Mistake for a template that has no value, and for what is no date."""
    text = with_vars(value, rules.params)
    known_key(key)
    check_value(key, text)
    return text
