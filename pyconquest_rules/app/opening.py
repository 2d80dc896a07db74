"""The index of the rules, to be asked or to be written."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.index.derived.geometry import stale
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.index.store import owner
from pyconquest_rules.index.store.budget import Budget
from pyconquest_rules.index.store.decisions import DEVICE, Decisions, DecisionsFile
from pyconquest_rules.index.store.intact import check_owner, is_intact, names_in
from pyconquest_rules.index.store.obeying import recorded
from pyconquest_rules.index.store.read_only import open_read_only
from pyconquest_rules.rules.rules import Rules

if TYPE_CHECKING:
    from pyconquest_rules.index.store.store import Store


@contextmanager
def opened(rules: Rules, *, as_it_is: bool = False) -> Iterator[Sets]:
    """The sets of the rules over the index, read-only. Raises DatabaseError where there is no index for these rules.

    What the index has still to do is done first: it obeys decisions, and series are measured. Not so if it is taken `as_it_is`.
    """
    no_index = DatabaseError(f"there is no index {rules.database} yet; make it with: pyconquest-rules index")
    if not rules.database.exists():
        raise no_index
    if not as_it_is:
        check_owner(rules.database)
    connection = open_read_only(rules.database, untouched=as_it_is)
    try:
        try:
            row = connection.execute("SELECT value FROM rules_index WHERE key = 'schema'").fetchone()
            intact = is_intact(connection, rules.schema)
        except sqlite3.Error:
            row, intact = None, False
        if row is None and not names_in(connection):
            raise no_index
        if row != (rules.schema.fingerprint,):
            raise DatabaseError("the index was made for other columns; bring it up to date with: pyconquest-rules index")
        if not intact:
            raise DatabaseError(
                f"another program changed the tables of the index {rules.database}; restore them with: pyconquest-rules index"
            )
        owner.check(connection, rules.database, rules.file, reads=True)
        if not as_it_is:
            _catch_up(rules, connection)
        yield Sets(connection, rules.schema, rules.selections, Budget.of(connection))
    finally:
        connection.close()


def _catch_up(rules: Rules, connection: sqlite3.Connection) -> None:
    if not obeys(rules, connection):
        with writing(rules):
            pass  # a store obeys
    if stale(connection):
        _measure(rules)


def obeys(rules: Rules, connection: sqlite3.Connection) -> bool:
    """Whether an index is what the decisions say."""
    return DecisionsFile(rules.base).read().text == (recorded(connection) or Decisions()).text


def check_sources(rules: Rules, connection: sqlite3.Connection) -> None:
    """Raise DatabaseError if an index has files of sources that the rules do not have, or have at other places.

    What an index says may be anybody's: who opens the files that it names must not be led out of the sources.
    """
    roots = {tree.name: tree.root for tree in rules.trees}
    rows = connection.execute(
        "SELECT name, device, CAST(path AS BLOB) FROM rules_sources AS s"
        " WHERE EXISTS (SELECT 1 FROM rules_files AS f WHERE f.device = s.device)"
    )
    for name, device, path in rows:
        if roots.get(name) != (root := Path(os.fsdecode(path or b""))) or not DEVICE.fullmatch(str(device)):
            what = f"at {str(root)!r}" if name in roots else "which the rules do not have"
            raise DatabaseError(
                f"the index {rules.database} has the source {name!r} {what}; bring it up to date with: pyconquest-rules index"
            )


def _measure(rules: Rules) -> None:
    """Measure the series that a listener, which may have been killed, left for later.

    A reader who cannot write the index sees them as they were measured last; the listener measures every few seconds.
    """
    with suppress(DatabaseError, sqlite3.Error), writing(rules) as store:
        store.measure_stale()


def writing(rules: Rules) -> "Store":
    """The writing side of the index. Imported late, like all that reads files: what only asks the index needs neither."""
    from pyconquest_rules.index.store.store import Store

    return Store(rules.database, rules.schema, rules.order)
