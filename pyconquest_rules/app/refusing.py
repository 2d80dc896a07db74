"""The files that could not be indexed. They cause exit code 1 until the user removes or accepts them."""

from collections.abc import Mapping
from sqlite3 import Connection

from pyconquest_rules.answers import Refusals
from pyconquest_rules.app.opening import opened
from pyconquest_rules.headers.opening import Reason
from pyconquest_rules.index.store.tables import REFUSED
from pyconquest_rules.rules.rules import Rules


def refusals(rules: Rules, *, as_it_is: bool = False) -> Refusals:
    """Return the refused files of the index, without reading sources. `as_it_is`: nothing is written either."""
    with opened(rules, as_it_is=as_it_is) as sets:
        return refusals_in(sets.connection, rules)


def refusals_in(connection: Connection, rules: Rules, seen: Mapping[str, int] | None = None) -> Refusals:
    """Return the refused files of an open index. `seen` are the counts of this run: unreadable folders are in no table."""
    found: dict[str, int] = dict(connection.execute(REFUSED).fetchall())
    if unreadable := max(found.get(Reason.UNREADABLE, 0), (seen or {}).get(Reason.UNREADABLE, 0)):
        found[Reason.UNREADABLE.value] = unreadable
    return Refusals(
        {reason: number for reason, number in sorted(found.items()) if reason not in rules.accept},
        {reason: number for reason, number in sorted(found.items()) if reason in rules.accept},
    )
