"""Turn requests into steps: which are todo, which are unchanged, which are blocked, and why."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, repeat
from sqlite3 import Connection

from pyconquest_rules.answers import Vanished
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.engine.at_nodes import DECIDE_ARRIVALS, DECIDE_AT_NODES
from pyconquest_rules.engine.conflicts import AGAIN, PLACES, TABLES, find_rivals, find_trouble
from pyconquest_rules.engine.guard import vanished
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.prune import prune
from pyconquest_rules.engine.renaming import COLLIDING, CONFLICTING, rename
from pyconquest_rules.engine.settling import RECORDED, settle
from pyconquest_rules.engine.spelling import respell
from pyconquest_rules.engine.world import Facts
from pyconquest_rules.paths import collision_key, remembered, renamed

NEEDED = "INSERT OR IGNORE INTO temp.needed VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"

# Obstacles that are decided by names.
AGAINST = ("temp.needed", "temp.shut", "temp.obstacle", "step WHERE reason = 'conflict'")

# Two entries that differ only in case leave no name: neither is the requested one.
PRESENT = """
INSERT INTO temp.present VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (place, key) DO UPDATE SET name = NULL
"""

# The index may use another file of the instance now: one that came later, or that somebody chose.
ANOTHER_COUNTS = """
UPDATE step SET message = 'the index now uses another file of this instance'
FROM request JOIN folder ON folder.number = request.folder
    JOIN ledger.done AS r ON r.kind = 'file' AND r.target = path || request.name
WHERE request.number = step.number AND step.status = 'todo' AND step.reason = 'source-changed' AND r.source != request.source
"""

BY_ON_CONFLICT = f"""
UPDATE step SET status = CASE on_conflict WHEN 'skip' THEN 'unchanged' WHEN 'overwrite' THEN 'todo' ELSE 'blocked' END,
    message = CASE
        WHEN EXISTS ({RECORDED} AND done.SOPInstanceUID = request.SOPInstanceUID) THEN 'somebody changed what was moved there'
        WHEN EXISTS ({RECORDED}) THEN 'another instance was put there earlier'
        ELSE 'other content is there that no action made' END
FROM action WHERE action.number = step.action AND status IS NULL
"""

# A file can be moved once every other step of its instance, or of a file that it is a part of, is done or comes before.
STILL_NEEDED = """
UPDATE step SET status = 'blocked', reason = 'collision', message = 'another step needs the file where it is'
WHERE status = 'todo' AND action IN (SELECT number FROM action WHERE mode = 'move') AND (EXISTS (
    SELECT 1 FROM request AS own JOIN request USING (SOPInstanceUID) JOIN step AS other ON other.number = request.number
        JOIN action ON action.number = request.action
    WHERE own.number = step.number AND request.number != own.number AND other.status != 'unchanged'
        AND (request.number > own.number OR mode = 'move'))
    OR EXISTS (SELECT 1 FROM request AS own JOIN part USING (SOPInstanceUID) JOIN request ON request.parts = part.parts
        JOIN step AS other ON other.number = request.number
    WHERE own.number = step.number AND other.status != 'unchanged' AND request.number > own.number))
"""

INDICES = (
    ("request_instance", "request (SOPInstanceUID)"),
    ("request_parts", "request (parts) WHERE parts > 0"),
    ("part_instance", "part (SOPInstanceUID)"),
)

NEEDS = """
UPDATE step SET status = 'blocked', reason = 'needs', message = 'an action that this one needs has blocked steps'
WHERE action = (SELECT number FROM action WHERE name = ?) AND status = 'todo' AND EXISTS (
    SELECT 1 FROM step JOIN action ON action.number = step.action
    WHERE name IN (SELECT value FROM json_each(?)) AND status = 'blocked')
"""


def decide(plan: Plan, facts: Facts, outputs: Outputs, contested: Iterable[str] = ()) -> tuple[Vanished, ...]:
    """Make a step of every request of `plan`, with a status and a reason, and of every file to be pruned.

    `contested` are the SOPInstanceUIDs of which files with different bytes exist: another file is another content, whatever its
    stamp. Return the outputs that lost most of their files. Reads the disk below `outputs`, writes nothing.
    """
    connection = plan.connection
    connection.executescript(TABLES)
    connection.execute("CREATE TEMP TABLE several (SOPInstanceUID TEXT PRIMARY KEY) WITHOUT ROWID")
    connection.executemany("INSERT OR IGNORE INTO temp.several VALUES (?)", ((uid,) for uid in contested))
    connection.create_function("renamed", 2, renamed, deterministic=True)
    connection.create_function("collision_key", 1, collision_key, deterministic=True)
    facts.attach(connection)
    connection.execute("BEGIN")
    connection.executemany(NEEDED, _folders(connection, outputs))
    for statement in PLACES:
        connection.execute(statement)
    find_rivals(connection)
    if connection.execute(AGAIN).rowcount:
        find_rivals(connection)
    connection.execute(DECIDE_AT_NODES)
    connection.execute(DECIDE_ARRIVALS)
    if rename(connection, COLLIDING):
        find_rivals(connection)
    connection.executemany(PRESENT, _present(connection, facts))
    find_trouble(connection)
    settle(plan, facts)
    if respell(connection, facts):
        for table in AGAINST:
            connection.execute(f"DELETE FROM {table}")
        connection.executemany(NEEDED, _folders(connection, outputs))
        find_trouble(connection)
        settle(plan, facts)
    if rename(connection, CONFLICTING):
        connection.execute("DELETE FROM step WHERE number IN (SELECT number FROM temp.renaming)")
        find_rivals(connection)
        settle(plan, facts)
    connection.execute(BY_ON_CONFLICT)
    connection.execute(ANOTHER_COUNTS)
    if connection.execute("SELECT 1 FROM action WHERE mode = 'move'").fetchone():
        for index, on in INDICES:
            connection.execute(f"CREATE INDEX {index} ON {on}")
        connection.execute(STILL_NEEDED)
        for index, _ in INDICES:
            connection.execute(f"DROP INDEX {index}")
    if connection.execute("SELECT 1 FROM action WHERE prune IS NOT NULL").fetchone():
        prune(connection, facts, outputs)
    found = tuple(vanished(connection, facts, outputs))
    connection.execute("COMMIT")
    connection.execute("DETACH ledger")
    return found


def hold_back(plan: Plan, needs: Mapping[str, tuple[str, ...]]) -> None:
    """Block the todo steps of actions that need one with blocked steps. Actions are in the order of their needs."""
    for action in plan.actions():
        if needs.get(action):
            plan.connection.execute(NEEDS, (action, json.dumps(needs[action])))


def _folders(connection: Connection, outputs: Outputs) -> Iterator[tuple[str, str, str, str, str, str, str | None]]:
    """Yield every folder that steps need, from the root of its output on, with the name as written if that is another one."""

    @remembered
    def needed(folder: str, printed: str) -> tuple[str, str, str, str, str, str, str | None]:
        parent, (above, name) = outputs.parent(folder), os.path.split(folder)
        # A root, or the folder of the rules file in it, may be written in several ways.
        known = parent is None or not folder or printed == name
        key, outer = (collision_key(os.path.join(path, "")) for path in (folder, above))
        return folder, "" if known else printed, key, outer, collision_key(name), name, parent

    for deepest, written in connection.execute(
        "SELECT DISTINCT path, written FROM folder WHERE number > 0 ORDER BY path, written"
    ):
        names = chain(reversed(written.removesuffix("\0").split("\0")), repeat(""))
        folder: str | None = deepest.removesuffix("/") or deepest
        while folder is not None:
            row = needed(folder, next(names))
            yield row
            folder = row[-1]


def _present(connection: Connection, facts: Facts) -> Iterator[tuple[object, ...]]:
    """Yield what is in those folders, by one listing of each. The listing of its parent tells if one is not a folder."""
    for folder, place in connection.execute("SELECT DISTINCT path, place.number FROM temp.needed JOIN temp.place USING (key)"):
        for name, kind, (size, mtime_ns) in facts.listing(folder):
            if _is_text(name):
                yield place, collision_key(name), name, kind, size, mtime_ns


def _is_text(name: str) -> bool:
    """Return whether a name on the disk is UTF-8, as the names of all destinations are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
