"""Open the index of the rules, for queries or for writing."""

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
    """Open the index read-only, and yield the sets of the rules.

    Unless it is opened `as_it_is`, pending work is done first: decisions are applied, and series are measured.
    Raises DatabaseError if there is no index, or if it is not an index of these rules.
    """
    no_index = DatabaseError(f"there is no index {rules.database} yet; create it with: pyconquest-rules index")
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
            raise DatabaseError("the index was created with other columns; update it with: pyconquest-rules index")
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
            pass  # opening the index for writing applies the decisions
    if stale(connection):
        _measure(rules)


def obeys(rules: Rules, connection: sqlite3.Connection) -> bool:
    """Whether all decisions have been applied to an index."""
    return DecisionsFile(rules.base).read().text == (recorded(connection) or Decisions()).text


def check_sources(rules: Rules, connection: sqlite3.Connection) -> None:
    """Raise DatabaseError if an index has files of a source that the rules do not have, or have with another path.

    An index may be forged. Its paths must not lead out of the sources of the rules.
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
                f"the index {rules.database} has the source {name!r} {what}; update it with: pyconquest-rules index"
            )


def _measure(rules: Rules) -> None:
    """Measure the geometry of series that a listener has not measured yet, because it was killed or will do so soon.

    If the index cannot be written, queries see the last measurement.
    """
    with suppress(DatabaseError, sqlite3.Error), writing(rules) as store:
        store.measure_stale()


def writing(rules: Rules) -> "Store":
    """Open the index for writing. The import is lazy, because commands that only query the index need not read files."""
    from pyconquest_rules.index.store.store import Store

    return Store(rules.database, rules.schema, rules.order)
