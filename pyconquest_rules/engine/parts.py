"""Groups of parts: what the files are made of that an action makes of many instances."""

import sqlite3
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from pyconquest_rules.content import Applied, Stamp
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.plan_tables import PARTS
from pyconquest_rules.paths import collision_key
from pyconquest_rules.steps import Reason

GIVEN = """
CREATE TEMP TABLE IF NOT EXISTS given (
    key TEXT, name TEXT, alike TEXT, SOPInstanceUID TEXT, source BLOB, size INT, mtime_ns INT, recipe INT,
    reason TEXT, message TEXT)
"""
# An instance that is requested twice under one name is one part. The order by name is bytewise, the same everywhere.
BY_GROUP = """
SELECT DISTINCT key, given.name, SOPInstanceUID, source, size, mtime_ns, recipe, identity, reason, message
FROM temp.given JOIN recipe ON recipe.number = given.recipe ORDER BY key, given.name, SOPInstanceUID
"""
# The groups with a name that is there twice, or that is also the folder of another one. A path and those below it are neighbours.
DOUBLED = """
CREATE TEMP TABLE doubled AS
SELECT key, min(name) AS name FROM (
    SELECT key, name, path, lag(path) OVER (PARTITION BY key ORDER BY path) AS before
    FROM (SELECT DISTINCT key, name, alike || '/' AS path, SOPInstanceUID, recipe FROM temp.given WHERE reason IS NULL))
WHERE substr(path, 1, length(before)) = before GROUP BY key
"""


class Member(NamedTuple):
    """An instance that becomes a part of the file, or files, of its group: `key` names the group, `name` the part.

    A member may have no name, but a `reason` and a message for the step of its group, which is then blocked.
    """

    key: str
    name: str
    SOPInstanceUID: str
    source: bytes
    size: int
    mtime_ns: int
    applied: Applied | None = None
    reason: Reason | None = None
    message: str | None = None


class Trouble(NamedTuple):
    """Why a group cannot be done: an instance that has no name."""

    SOPInstanceUID: str
    reason: Reason
    message: str


class Group(NamedTuple):
    """A group of parts, as a request has it: its number and stamp.

    `doubled` is the name of a part that is there twice, that some file systems cannot tell from another one, or that is also
    the folder of another one; None if there is no such part. `trouble` is that of its first member without a name.
    """

    key: str
    number: int
    stamp: Stamp
    doubled: str | None
    trouble: Trouble | None


def grouped(plan: Plan, members: Iterable[Member]) -> Iterator[Group]:
    """Add members, which come in any order, to the plan as parts. Yield their groups, sorted by key."""
    connection = plan.connection
    connection.execute(GIVEN)
    connection.execute("DELETE FROM temp.given")
    connection.executemany(
        "INSERT INTO temp.given VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (_given(plan, each) for each in members)
    )
    connection.execute("DROP TABLE IF EXISTS temp.doubled")
    connection.execute(DOUBLED)
    connection.execute("CREATE INDEX temp.doubled_key ON doubled (key)")
    groups = groupby(connection.execute(BY_GROUP), itemgetter(0))
    for number, (key, rows) in enumerate(groups, _next(connection)):
        yield _group(connection, key, number, rows)


def covering(plan: Plan, actions: Iterable[str]) -> Group:
    """Return a group of all files that some actions of the plan request. The size of its stamp is their number."""
    connection, digest, files = plan.connection, sha256(), 0
    number, insert = _next(connection), "INSERT INTO covered SELECT ?, number FROM action WHERE name = ?"
    connection.executemany(insert, ((number, each) for each in actions))
    for *row, _, action in connection.execute(PARTS, (number,)):
        digest.update(repr((*row, action)).encode())
        files += 1
    return Group("", number, _stamp(files, digest.digest()), None, None)


def _next(connection: sqlite3.Connection) -> int:
    """Return the number of the next group."""
    query = "SELECT 1 + max(coalesce(max(parts), 0), (SELECT coalesce(max(parts), 0) FROM covered)) FROM part"
    return int(connection.execute(query).fetchone()[0])


def _given(plan: Plan, member: Member) -> tuple[object, ...]:
    key, name, *instance, applied, reason, message = member
    recipe = 0 if applied is None else plan.recipe(*applied)
    return (key, name, collision_key(name), *instance, recipe, reason, message)


def _group(connection: sqlite3.Connection, key: str, number: int, rows: Iterator[tuple[Any, ...]]) -> Group:
    """Add the parts of a group to the plan."""
    digest, total = sha256(), 0
    trouble: Trouble | None = None

    def parts() -> Iterator[tuple[object, ...]]:
        nonlocal total, trouble
        for place, (_, name, uid, source, size, mtime_ns, recipe, identity, reason, message) in enumerate(rows):
            digest.update(repr((name, uid, source, size, mtime_ns, identity)).encode())
            total += size
            if reason is not None and trouble is None:
                trouble = Trouble(uid, Reason(reason), message)
            yield number, place, name, uid, source, size, mtime_ns, recipe

    connection.executemany("INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?)", parts())
    (doubled,) = connection.execute("SELECT max(name) FROM temp.doubled WHERE key = ?", (key,)).fetchone()
    return Group(key, number, _stamp(total, digest.digest()), doubled, trouble)


def _stamp(size: int, digest: bytes) -> Stamp:
    return Stamp(size, int.from_bytes(digest[:8]) >> 1)
