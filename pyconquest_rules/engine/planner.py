"""From requests to steps: which are to be done, which are done already, which are blocked, and why."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, repeat
from sqlite3 import Connection

from pyconquest_rules.answers import Vanished
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.engine.conflicts import AGAIN, PLACES, TABLES, find_obstacles, find_rivals, find_trouble
from pyconquest_rules.engine.guard import vanished
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.prune import prune
from pyconquest_rules.engine.spelling import respell
from pyconquest_rules.engine.world import Facts
from pyconquest_rules.paths import collision_key, remembered, renamed
from pyconquest_rules.steps import Mode

# What is there, beside what the ledger says of this instance there, and what is wished. `compare` is asked of the disk in a
# second pass. What the ledger knows as another instance's is not ours to replace: it may be the last copy of that. So may be
# whatever a move finds; only where the bytes are the same its source can go.
DECIDE = """
INSERT INTO step SELECT number, action,
    CASE WHEN message IS NOT NULL THEN 'blocked' WHEN reason = 'compare' THEN NULL WHEN reason = 'done' THEN 'unchanged'
        ELSE 'todo' END,
    reason, message, size, there_size, there_mtime_ns
FROM (SELECT w.number, w.action, w.size,
    coalesce(w.reason, o.reason, CASE
        WHEN p.kind IS NULL AND r.target IS NOT NULL THEN 'destination-missing'
        WHEN p.kind IS NULL AND x.target IS NOT NULL THEN 'retry'
        WHEN p.kind IS NULL THEN 'new'
        WHEN p.name IS NOT w.name OR p.kind IN ('folder', 'other') THEN 'conflict'
        WHEN r.target IS NULL OR r.young OR r.changed OR (p.size, p.mtime_ns) != (r.size, r.mtime_ns)
            OR (a.mode = 'move' AND (r.source_size, r.source_mtime_ns) != (w.size, w.mtime_ns)) THEN 'compare'
        WHEN (r.source_size, r.source_mtime_ns) != (w.size, w.mtime_ns)
            OR (r.source != w.source AND (a.mode = 'symlink' OR w.SOPInstanceUID IN temp.several)) THEN 'source-changed'
        WHEN r.fingerprint != a.fingerprint THEN 'rule-changed'
        WHEN a.mode = 'move' THEN 'adopt'
        ELSE 'done' END) AS reason,
    coalesce(w.message, o.message, CASE
        WHEN p.name IS NOT w.name AND p.kind IS NOT NULL THEN 'a file whose name differs in case only stands there'
        WHEN p.kind IN ('folder', 'other') THEN 'something that is no file stands there' END) AS message,
    CASE WHEN o.reason IS NULL AND p.name = w.name THEN p.size END AS there_size,
    CASE WHEN o.reason IS NULL AND p.name = w.name THEN p.mtime_ns END AS there_mtime_ns
FROM request AS w CROSS JOIN folder AS f ON f.number = w.folder CROSS JOIN action AS a ON a.number = w.action
    LEFT JOIN temp.obstacle AS o ON o.number = w.number
    LEFT JOIN temp.present AS p ON p.place = f.place AND p.key = w.key
    LEFT JOIN ledger.done AS r ON r.kind = 'file' AND r.target = f.path || w.name AND r.SOPInstanceUID = w.SOPInstanceUID
    LEFT JOIN ledger.failed AS x ON x.kind = 'file' AND x.target = f.path || w.name
WHERE w.number NOT IN (SELECT number FROM step))
"""

# What the ledger says of an instance at a node. Of two steps that send one instance to one node the second has nothing to do.
DECIDE_SENDS = """
INSERT INTO step SELECT number, action, CASE reason WHEN 'done' THEN 'unchanged' ELSE 'todo' END, reason,
    CASE WHEN nth > 1 THEN 'another step sends it' END, size, NULL, NULL
FROM (SELECT *, CASE
        WHEN nth > 1 THEN 'done'
        WHEN sent_size IS NULL THEN CASE WHEN failed THEN 'retry' ELSE 'new' END
        WHEN (sent_size, sent_mtime_ns) != (size, mtime_ns) THEN 'source-changed'
        WHEN confirm AND NOT confirmed THEN 'unconfirmed'
        ELSE 'done' END AS reason
    FROM (SELECT w.number, w.action, w.size, w.mtime_ns, a.confirm, s.size AS sent_size, s.mtime_ns AS sent_mtime_ns, s.confirmed,
            x.target IS NOT NULL AS failed,
            row_number() OVER (PARTITION BY a.node, w.SOPInstanceUID ORDER BY w.number) AS nth
        FROM request AS w CROSS JOIN action AS a ON a.number = w.action
            LEFT JOIN ledger.done AS s ON s.kind = 'instance' AND s.target = a.node AND s.member = w.SOPInstanceUID
            LEFT JOIN ledger.failed AS x ON x.kind = 'instance' AND x.target = a.node AND x.member = w.SOPInstanceUID
        WHERE a.mode = 'send'))
"""

# What the index has is done, as the requests say.
DECIDE_RETRIEVES = """
INSERT INTO step SELECT w.number, w.action,
    CASE WHEN w.message IS NOT NULL THEN 'blocked' WHEN w.reason = 'done' THEN 'unchanged' ELSE 'todo' END,
    coalesce(w.reason, CASE WHEN x.target IS NOT NULL THEN 'retry' ELSE 'new' END), w.message, w.size, NULL, NULL
FROM request AS w CROSS JOIN action AS a ON a.number = w.action
    LEFT JOIN ledger.failed AS x ON x.kind = 'arrival' AND x.target = a.node AND x.member = w.SOPInstanceUID
WHERE a.mode = 'retrieve'
"""

NEEDED = "INSERT OR IGNORE INTO temp.needed VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"

# What stands against steps, as far as names decide it.
AGAINST = ("temp.needed", "temp.shut", "temp.obstacle", "step WHERE reason = 'conflict'")

# Two that stand there and differ in case only leave no name: neither is the one that is wished.
PRESENT = """
INSERT INTO temp.present VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (place, key) DO UPDATE SET name = NULL
"""

DOUBTFUL = """
SELECT step.number, mode, source, path || request.name FROM step JOIN request USING (number)
    JOIN folder ON folder.number = request.folder JOIN action ON action.number = step.action
WHERE status IS NULL AND step.reason = 'compare' AND (there_size = step.size OR mode = 'symlink')
"""

# What the ledger says of the destination of a step.
RECORDED = """
SELECT 1 FROM request JOIN folder ON folder.number = request.folder
    JOIN ledger.done ON done.kind = 'file' AND done.target = path || request.name
WHERE request.number = step.number
"""

# The same, joined to the step's action, for what this program put there for the same image.
OURS = """
FROM step JOIN action ON action.number = step.action JOIN request USING (number) JOIN folder ON folder.number = request.folder
    JOIN ledger.done ON done.kind = 'file' AND done.target = path || request.name AND done.SOPInstanceUID = request.SOPInstanceUID
"""
SOURCE_CHANGED = """
(done.source_size, done.source_mtime_ns) != (request.size, request.mtime_ns) OR (mode = 'symlink' AND done.source != request.source)
"""

# What may hold its own bytes still, although its time is another: then only its source or its rule changed.
PERHAPS_LEFT = f"""
SELECT step.number, done.target, done.source, done.sha256,
    CASE WHEN {SOURCE_CHANGED} OR done.young THEN 'source-changed' ELSE 'rule-changed' END
{OURS} WHERE step.status IS NULL AND step.reason = 'compare' AND mode != 'move' AND there_size = done.size AND NOT done.changed
    AND step.number NOT IN (SELECT number FROM temp.alike)
    AND ({SOURCE_CHANGED} OR done.young OR done.fingerprint != action.fingerprint)
"""

# What holds other content than the step would put: ours that somebody changed is for on_changed, what is not ours for
# on_conflict.
COMPARED = f"""
UPDATE step SET reason = CASE
        WHEN step.number IN (SELECT number FROM temp.alike) THEN 'adopt'
        WHEN mode != 'move' AND EXISTS ({RECORDED} AND done.SOPInstanceUID = request.SOPInstanceUID)
            THEN coalesce((SELECT reason FROM temp.left_as_is AS l WHERE l.number = step.number), 'destination-changed')
        ELSE 'conflict' END
FROM action WHERE action.number = step.action AND status IS NULL AND reason = 'compare'
"""

SETTLE = "UPDATE step SET status = 'todo' WHERE status IS NULL AND reason NOT IN ('conflict', 'destination-changed')"

# What `verify --repair` found is replaced as long as it is what was found there.
BY_ON_CHANGED = f"""
UPDATE step SET status = iif(restored, 'todo', 'blocked'), message = CASE
        WHEN restored THEN NULL
        WHEN moved_on THEN 'somebody changed it, and its source changed too; to replace it: on_changed = "restore"'
        ELSE 'somebody changed it; to replace it: verify --repair, or on_changed = "restore"' END
FROM (SELECT step.number, {SOURCE_CHANGED} AS moved_on, on_changed = 'restore'
            OR EXISTS (SELECT 1 FROM ledger.repair AS asked WHERE asked.destination = done.target
                AND (asked.size, asked.mtime_ns) = (there_size, there_mtime_ns)) AS restored
    {OURS} WHERE step.status IS NULL AND step.reason = 'destination-changed') AS found
WHERE found.number = step.number
"""

# The index can have come to another file of the instance: a corrected one that was delivered later, or one that was chosen.
ANOTHER_COUNTS = """
UPDATE step SET message = 'another file of this instance counts now'
FROM request JOIN folder ON folder.number = request.folder JOIN ledger.done AS r ON r.kind = 'file' AND r.target = path || request.name
WHERE request.number = step.number AND step.status = 'todo' AND step.reason = 'source-changed' AND r.source != request.source
"""

BY_ON_CONFLICT = f"""
UPDATE step SET status = CASE on_conflict WHEN 'skip' THEN 'unchanged' WHEN 'overwrite' THEN 'todo' ELSE 'blocked' END,
    message = CASE
        WHEN EXISTS ({RECORDED} AND done.SOPInstanceUID = request.SOPInstanceUID) THEN 'somebody changed what was moved there'
        WHEN EXISTS ({RECORDED}) THEN 'another instance, which was put there earlier, stands there'
        ELSE 'other content stands there that is not ours' END
FROM action WHERE action.number = step.action AND status IS NULL
"""

RENAMING = """
INSERT INTO temp.renaming SELECT request.number, action, SOPInstanceUID, path, renamed(request.name, SOPInstanceUID)
FROM request JOIN action ON action.number = request.action JOIN folder ON folder.number = request.folder
WHERE on_conflict = 'rename' AND reason IS NULL AND request.number IN
"""
COLLIDING = "(SELECT number FROM temp.rival WHERE requests > 1)"
CONFLICTING = "(SELECT number FROM step WHERE status IS NULL)"

# A name that would be the same step twice is not taken: such steps stay in each other's way.
TAKEN = """
DELETE FROM temp.renaming WHERE number IN (SELECT renaming.number FROM request CROSS JOIN folder ON folder.number = request.folder
    CROSS JOIN temp.renaming USING (SOPInstanceUID, path, name, action))
"""
RENAME = "UPDATE request SET name = new.name, key = collision_key(new.name) FROM temp.renaming AS new WHERE new.number = request.number"

# A file can be moved away once everything else that is wished of it is done, or comes before.
STILL_NEEDED = """
UPDATE step SET status = 'blocked', reason = 'collision', message = 'another step needs the file where it is'
WHERE status = 'todo' AND action IN (SELECT number FROM action WHERE mode = 'move') AND EXISTS (
    SELECT 1 FROM request AS own JOIN request USING (SOPInstanceUID) JOIN step AS other ON other.number = request.number
        JOIN action ON action.number = request.action
    WHERE own.number = step.number AND request.number != own.number AND other.status != 'unchanged'
        AND (request.number > own.number OR mode = 'move'))
"""

NEEDS = """
UPDATE step SET status = 'blocked', reason = 'needs', message = 'an action that this one needs has blocked steps'
WHERE action = (SELECT number FROM action WHERE name = ?) AND status = 'todo' AND EXISTS (
    SELECT 1 FROM step JOIN action ON action.number = step.action
    WHERE name IN (SELECT value FROM json_each(?)) AND status = 'blocked')
"""


def decide(plan: Plan, facts: Facts, outputs: Outputs, contested: Iterable[str] = ()) -> tuple[Vanished, ...]:
    """Make a step of every request of `plan`, with a status and a reason, and of every file that is to be pruned.

    `contested` are SOPInstanceUIDs of which there are files with other bytes: another file is another content, whatever its
    size and time. Return the outputs that lost most of their files. Reads the disk below `outputs`, writes nothing.
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
    connection.execute(DECIDE_SENDS)
    connection.execute(DECIDE_RETRIEVES)
    if _rename(connection, COLLIDING):
        find_rivals(connection)
    connection.executemany(PRESENT, _present(connection, facts))
    find_trouble(connection)
    _settle(connection, facts)
    if respell(connection, facts):
        for table in AGAINST:
            connection.execute(f"DELETE FROM {table}")
        connection.executemany(NEEDED, _folders(connection, outputs))
        find_trouble(connection)
        _settle(connection, facts)
    if _rename(connection, CONFLICTING):
        connection.execute("DELETE FROM step WHERE number IN (SELECT number FROM temp.renaming)")
        find_rivals(connection)
        _settle(connection, facts)
    connection.execute(BY_ON_CONFLICT)
    connection.execute(ANOTHER_COUNTS)
    if connection.execute("SELECT 1 FROM action WHERE mode = 'move'").fetchone():
        connection.execute("CREATE INDEX request_instance ON request (SOPInstanceUID)")
        connection.execute(STILL_NEEDED)
        connection.execute("DROP INDEX request_instance")
    if connection.execute("SELECT 1 FROM action WHERE prune IS NOT NULL").fetchone():
        prune(connection, facts, outputs)
    found = tuple(vanished(connection, facts, outputs))
    connection.execute("COMMIT")
    connection.execute("DETACH ledger")
    return found


def hold_back(plan: Plan, needs: Mapping[str, tuple[str, ...]]) -> None:
    """Blocks what is to be done of actions that need one with blocked steps. Actions stand in the order of their needs."""
    for action in plan.actions():
        if needs.get(action):
            plan.connection.execute(NEEDS, (action, json.dumps(needs[action])))


def _folders(connection: Connection, outputs: Outputs) -> Iterator[tuple[str, str, str, str, str, str, str | None]]:
    """Every folder that steps need, from the root of its output on, with what it was to be called where that is another name."""

    @remembered
    def needed(folder: str, printed: str) -> tuple[str, str, str, str, str, str, str | None]:
        parent, (above, name) = outputs.parent(folder), os.path.split(folder)
        # A root, and the folder of the rules file in it, may be written in several ways.
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
    """What stands in those folders: one listing of each. What is no folder is known from the listing of its parent."""
    for folder, place in connection.execute("SELECT DISTINCT path, place.number FROM temp.needed JOIN temp.place USING (key)"):
        for name, kind, (size, mtime_ns) in facts.listing(folder):
            if _is_text(name):
                yield place, collision_key(name), name, kind, size, mtime_ns


def _is_text(name: str) -> bool:
    """Whether a name on the disk is UTF-8, as those of all destinations are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _settle(connection: Connection, facts: Facts) -> None:
    """Settles every step but those whose destination holds other content."""
    find_obstacles(connection)
    connection.execute(DECIDE)
    connection.executemany("INSERT INTO temp.alike VALUES (?)", _alike(connection, facts))
    connection.execute("DELETE FROM temp.left_as_is")
    connection.executemany("INSERT INTO temp.left_as_is VALUES (?, ?)", _left_as_is(connection, facts))
    for statement in (COMPARED, SETTLE, BY_ON_CHANGED):
        connection.execute(statement)


def _alike(connection: Connection, facts: Facts) -> Iterator[tuple[int]]:
    """The steps for which only the bytes of what stands there can tell, and do tell that it is what they would put."""
    doubtful = connection.execute(DOUBTFUL)
    return ((number,) for number, mode, source, destination in doubtful if facts.is_made(Mode(mode), source, destination))


def _left_as_is(connection: Connection, facts: Facts) -> Iterator[tuple[int, str]]:
    """The steps whose destination was only touched since it was made, and why they are to be done."""
    touched = connection.execute(PERHAPS_LEFT)
    return ((number, reason) for number, at, source, sha256, reason in touched if facts.is_left(at, source, sha256))


def _rename(connection: Connection, which: str) -> bool:
    """Gives requests a name of their own, made of their SOPInstanceUID: the same one in every run. Whether there were any."""
    connection.execute("DELETE FROM temp.renaming")
    if not connection.execute(RENAMING + which).rowcount:
        return False
    connection.execute(TAKEN)
    connection.execute(RENAME)
    return True
