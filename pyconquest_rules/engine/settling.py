"""The steps of files, decided by what is at their destinations and what the ledger recorded of them."""

from collections.abc import Iterator
from sqlite3 import Connection

from pyconquest_rules.content import Stamp
from pyconquest_rules.engine.conflicts import find_obstacles
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.engine.world import Facts
from pyconquest_rules.steps import Mode

# What is at the destination, what the ledger recorded of this instance there, and what is requested. `compare` means that only
# the bytes can tell, which a second pass reads. A file that the ledger recorded for another instance is not replaced: it may be
# the last copy. The same is true of whatever a move finds; its source may only go if the bytes are equal.
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
        WHEN r.fingerprint != a.fingerprint || (SELECT identity FROM recipe WHERE number = w.recipe) THEN 'rule-changed'
        WHEN a.mode = 'move' THEN 'adopt'
        ELSE 'done' END) AS reason,
    coalesce(w.message, o.message, CASE
        WHEN p.name IS NOT w.name AND p.kind IS NOT NULL THEN 'a file whose name differs only in case is there'
        WHEN p.kind IN ('folder', 'other') THEN 'something that is not a file is there' END) AS message,
    CASE WHEN o.reason IS NULL AND p.name = w.name THEN p.size END AS there_size,
    CASE WHEN o.reason IS NULL AND p.name = w.name THEN p.mtime_ns END AS there_mtime_ns
FROM request AS w CROSS JOIN folder AS f ON f.number = w.folder CROSS JOIN action AS a ON a.number = w.action
    LEFT JOIN temp.obstacle AS o ON o.number = w.number
    LEFT JOIN temp.present AS p ON p.place = f.place AND p.key = w.key
    LEFT JOIN ledger.done AS r ON r.kind = 'file' AND r.target = f.path || w.name AND r.SOPInstanceUID = w.SOPInstanceUID
    LEFT JOIN ledger.failed AS x ON x.kind = 'file' AND x.target = f.path || w.name
WHERE w.number NOT IN (SELECT number FROM step))
"""

DOUBTFUL = """
SELECT step.number, mode, source, request.size, mtime_ns, recipe.name, identity, parts, path || request.name
FROM step JOIN request USING (number)
    JOIN folder ON folder.number = request.folder JOIN action ON action.number = step.action
    JOIN recipe ON recipe.number = request.recipe
WHERE status IS NULL AND step.reason = 'compare' AND (there_size = step.size OR mode = 'symlink' OR recipe > 0)
"""

# Whether the ledger has the destination of a step.
RECORDED = """
SELECT 1 FROM request JOIN folder ON folder.number = request.folder
    JOIN ledger.done ON done.kind = 'file' AND done.target = path || request.name
WHERE request.number = step.number
"""

# The same, joined to the step's action, for a file that was made of the same instance.
OURS = """
FROM step JOIN action ON action.number = step.action JOIN request USING (number) JOIN folder ON folder.number = request.folder
    JOIN recipe ON recipe.number = request.recipe
    JOIN ledger.done ON done.kind = 'file' AND done.target = path || request.name AND done.SOPInstanceUID = request.SOPInstanceUID
"""
SOURCE_CHANGED = """
(done.source_size, done.source_mtime_ns) != (request.size, request.mtime_ns)
    OR (mode = 'symlink' AND done.source != request.source)
"""

# Files that may still have the bytes that were put there although their mtime differs: then only source or rule changed.
PERHAPS_LEFT = f"""
SELECT step.number, done.target, done.source, done.sha256,
    CASE WHEN {SOURCE_CHANGED} OR done.young THEN 'source-changed' ELSE 'rule-changed' END
{OURS} WHERE step.status IS NULL AND step.reason = 'compare' AND mode != 'move' AND there_size = done.size AND NOT done.changed
    AND step.number NOT IN (SELECT number FROM temp.alike)
    AND ({SOURCE_CHANGED} OR done.young OR done.fingerprint != action.fingerprint || identity)
"""

# Files with other content than the step would put there: `on_changed` decides about our files that somebody changed,
# `on_conflict` about all others.
COMPARED = f"""
UPDATE step SET reason = CASE
        WHEN step.number IN (SELECT number FROM temp.alike) THEN 'adopt'
        WHEN mode != 'move' AND EXISTS ({RECORDED} AND done.SOPInstanceUID = request.SOPInstanceUID)
            THEN coalesce((SELECT reason FROM temp.left_as_is AS l WHERE l.number = step.number), 'destination-changed')
        ELSE 'conflict' END
FROM action WHERE action.number = step.action AND status IS NULL AND reason = 'compare'
"""

SETTLE = "UPDATE step SET status = 'todo' WHERE status IS NULL AND reason NOT IN ('conflict', 'destination-changed')"

# A file that `verify --repair` found is replaced as long as it is as it was found.
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


def settle(plan: Plan, facts: Facts) -> None:
    """Settle every step except those whose destination holds other content."""
    connection = plan.connection
    find_obstacles(connection)
    connection.execute(DECIDE)
    connection.executemany("INSERT INTO temp.alike VALUES (?)", _alike(plan, facts))
    connection.execute("DELETE FROM temp.left_as_is")
    connection.executemany("INSERT INTO temp.left_as_is VALUES (?, ?)", _left_as_is(connection, facts))
    for statement in (COMPARED, SETTLE, BY_ON_CHANGED):
        connection.execute(statement)


def _alike(plan: Plan, facts: Facts) -> Iterator[tuple[int]]:
    """Yield the steps whose destination has the bytes that they would put; only reading it can tell."""
    for number, mode, source, size, mtime_ns, *how, destination in plan.connection.execute(DOUBTFUL):
        if facts.is_made(Mode(mode), plan.content(source, Stamp(size, mtime_ns), *how), destination):
            yield (number,)


def _left_as_is(connection: Connection, facts: Facts) -> Iterator[tuple[int, str]]:
    """Yield the steps whose destination still has the bytes that were put there, and why they are todo."""
    touched = connection.execute(PERHAPS_LEFT)
    return ((number, reason) for number, at, source, sha256, reason in touched if facts.is_left(at, source, sha256))
