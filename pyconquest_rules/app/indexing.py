"""Bringing the index up to date with the sources."""

import os
from collections.abc import Iterable

from pyconquest_rules.answers import Indexed
from pyconquest_rules.app.forgetting import forget_moved
from pyconquest_rules.app.naming import named
from pyconquest_rules.app.opening import writing
from pyconquest_rules.events import Emit, silent
from pyconquest_rules.execute.folders import INCOMING, OLDER
from pyconquest_rules.index.contradictions import count as count_contradictions
from pyconquest_rules.index.decisions import FOLDER
from pyconquest_rules.index.csv_tables import bring_up_to_date as bring_tables_up_to_date
from pyconquest_rules.index.workers import Workers, here
from pyconquest_rules.rules.rules import Rules


def index(
    rules: Rules,
    sources: Iterable[str] = (),
    *,
    allow_vanish: bool = False,
    workers: Workers = here,
    emit: Emit = silent,
    every_file: bool = False,
) -> Indexed:
    """Brings the index up to date with the sources named, or with all.

    `emit` is told of files that are unchanged only where `every_file` is asked for.

    Raises SourceError, and changes nothing, where a source is missing or most of it vanished; UsageError for a name that
    is no source.
    """
    from pyconquest_rules.index.scan import Scan

    names = tuple(dict.fromkeys(sources))
    known = {tree.name: tree for tree in rules.trees}
    for name in names:
        named("source", name, known)
    with writing(rules) as store:
        forget_moved(rules, store)  # by runs that were killed before they could
        scan = Scan(store, emit, every_file=every_file, takes_back=True)
        for name in store.sources().keys() - known.keys() if not names else ():
            scan.drop(name)
        scan.run([known[name] for name in names or known], workers, own=_own(rules), allow_vanish=allow_vanish)
        store.measure_stale()  # left by a listener that was killed
        bring_tables_up_to_date(store.connection, rules.tables, store.transaction)
        # Looking through the whole index would make a run that reads nothing a slow one.
        contradictions = count_contradictions(store.connection) if scan.counts["read"] else {}
    return Indexed(dict(scan.counts), dict(scan.reasons), dict(scan.notes), contradictions)


def _own(rules: Rules) -> frozenset[bytes]:
    """The real paths of what this program itself keeps, which may lie inside a source."""
    database = os.path.realpath(rules.database)
    files = [database + end for end in ("", "-wal", "-shm", "-journal")]
    incoming = [os.path.join(tree.root, name) for tree in rules.trees for name in (INCOMING, OLDER)]
    return frozenset(map(os.fsencode, [*files, *incoming, os.path.realpath(rules.base / FOLDER)]))
