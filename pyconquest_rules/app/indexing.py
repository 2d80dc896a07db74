"""Update the index from the sources."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pyconquest_rules.answers import Indexed
from pyconquest_rules.app.forgetting import forget_moved
from pyconquest_rules.app.naming import named
from pyconquest_rules.app.opening import writing
from pyconquest_rules.app.refusing import refusals_in
from pyconquest_rules.disk.folders import INCOMING, OLDER
from pyconquest_rules.disk.identity import Identities
from pyconquest_rules.disk.state_folder import FOLDER
from pyconquest_rules.events import Emit, SourceNoted, silent
from pyconquest_rules.index.derived.contradictions import count as count_contradictions
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.scan.workers import Workers, here
from pyconquest_rules.index.scan.wrong_places import archives
from pyconquest_rules.index.store.csv_tables import bring_up_to_date as bring_tables_up_to_date
from pyconquest_rules.rules.rules import Rules

if TYPE_CHECKING:
    from pyconquest_rules.index.store.store import Store


def index(
    rules: Rules,
    sources: Iterable[str] = (),
    *,
    allow_vanish: bool = False,
    workers: Workers = here,
    emit: Emit = silent,
    every_file: bool = False,
) -> Indexed:
    """Update the index from the named sources, or from all, and return the counts.

    `every_file`: emit an event for unchanged files too.
    Raises SourceError, and changes nothing, if a source is missing or if most of its files vanished without `allow_vanish`.
    Raises UsageError for an unknown source.
    """
    from pyconquest_rules.index.scan.scan import Scan

    names = tuple(dict.fromkeys(sources))
    known = {tree.name: tree for tree in rules.trees}
    for name in names:
        named("source", name, known)
    for tree in rules.trees:
        for earlier in tree.before:
            message = f'{tree.overlap(earlier)} source "{earlier.name}": files in both count once, as those of "{earlier.name}"'
            emit(SourceNoted(tree.name, message))
    for noted in under_other_names(rules.trees):
        emit(noted)
    with writing(rules) as store:
        forget_moved(rules, store)  # killed runs may have left this undone
        scan = Scan(store, emit, every_file=every_file, takes_back=True)
        for name in store.sources().keys() - known.keys() if not names else ():
            scan.drop(name)
        scan.run([known[name] for name in names or known], workers, own=_own(rules), allow_vanish=allow_vanish)
        store.measure_stale()  # a killed listener may have left this undone
        bring_tables_up_to_date(store.connection, rules.tables, store.transaction)
        # These queries read the whole index, which would slow down a run without changes.
        for name, number, only in archives(store.connection) if scan.tally.counts["read"] or _is_empty(store) else ():
            emit(SourceNoted(name, _archives(number, only)))
        contradictions = count_contradictions(store.connection) if scan.tally.counts["read"] else {}
        if not names:
            store.own()
        refused = refusals_in(store.connection, rules, scan.tally.reasons)
    return Indexed(dict(scan.tally.counts), dict(scan.tally.reasons), dict(scan.tally.notes), contradictions, refused)


def under_other_names(trees: Sequence[Tree]) -> Iterator[SourceNoted]:
    """Yield an event for each source that shares files with an earlier one under another path, for example by a bind mount."""
    for tree, earlier in ((tree, earlier) for number, tree in enumerate(trees) for earlier in trees[:number]):
        if tree.is_inside(earlier) or earlier.is_inside(tree):
            continue
        inside, contains = _holds(earlier, tree), _holds(tree, earlier)
        if inside or contains:
            how = "is the same folder as" if inside and contains else "lies inside" if inside else "contains"
            message = f'{how} source "{earlier.name}", under another name: files in both are duplicates; remove one source'
            yield SourceNoted(tree.name, message)


def _holds(one: Tree, other: Tree) -> bool:
    return Identities([str(one.root)]).which_path(str(other.root)) is not None


def _is_empty(store: "Store") -> bool:
    """Whether the index has no instance."""
    return store.connection.execute("SELECT 1 FROM DICOMImages LIMIT 1").fetchone() is None


def _archives(number: int, only: bool) -> str:
    what, are = ("1 archive", "is") if number == 1 else (f"{number:,} archives", "are")
    return f"has {'no DICOM file, but ' if only else ''}{what}, which {are} not read: unpack what you need"


def _own(rules: Rules) -> frozenset[bytes]:
    """Return the real paths of this program's own files and folders, which may lie inside a source."""
    database = os.path.realpath(rules.database)
    files = [database + end for end in ("", "-wal", "-shm", "-journal")]
    incoming = [os.path.join(tree.root, name) for tree in rules.trees for name in (INCOMING, OLDER)]
    return frozenset(map(os.fsencode, [*files, *incoming, os.path.realpath(rules.base / FOLDER)]))
