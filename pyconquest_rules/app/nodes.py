"""Asking the nodes of the rules: whether they are there, and what they have."""

from collections.abc import Iterator, Mapping
from time import monotonic

from pyconquest_rules.app.naming import named
from pyconquest_rules.dicom import Level
from pyconquest_rules.index import sql
from pyconquest_rules.rules.rules import Rules


def echo(rules: Rules, name: str) -> float:
    """Asks a node whether it is there (C-ECHO); gives the seconds until its answer.

    Raises UsageError for a name that no node has, NodeError where it does not answer with success.
    """
    from pyconquest_rules.network.association import echo as ask

    node, start = named("node", name, rules.nodes), monotonic()
    ask(node)
    return monotonic() - start


def find(rules: Rules, name: str, level: Level, match: Mapping[str, str]) -> tuple[tuple[str, ...], Iterator[sql.Row]]:
    """What a node has at a level, by C-FIND: the keys that were asked for, and for each match their values.

    Raises UsageError for a name that no node has, Mistake for a key that cannot be asked for, NodeError where the node fails.
    """
    from pyconquest_rules.network.keys import UNIQUE
    from pyconquest_rules.network.query_retrieve import find as found

    keys = tuple(dict.fromkeys([*UNIQUE[level], *match]))
    matches = found(named("node", name, rules.nodes), level, match)
    return keys, (tuple(row[key] for key in keys) for row in matches)
