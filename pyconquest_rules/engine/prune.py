"""Steps that remove the files which actions with `prune` made and no action requests any more, found by SQL."""

from collections.abc import Iterator
from sqlite3 import Connection

from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.engine.world import Facts
from pyconquest_rules.paths import UnsafePath, collision_key
from pyconquest_rules.steps import Mode

TABLES = (
    "CREATE TEMP TABLE stale (number INTEGER PRIMARY KEY, destination TEXT, place TEXT, found TEXT)",
    "CREATE TEMP TABLE located (number INTEGER PRIMARY KEY, place TEXT)",
    "CREATE TEMP TABLE twin (number INTEGER PRIMARY KEY)",
    "CREATE TEMP TABLE seen (number INTEGER PRIMARY KEY, kind TEXT, size INT, mtime_ns INT, trouble TEXT)",
    # The step for each finding.
    """
    CREATE TEMP TABLE verdict AS
    SELECT column1 AS found, column2 AS status, column3 AS reason, column4 AS message, column5 AS forget FROM (VALUES
    ('made', 'todo', 'prune', NULL, 0),
    ('gone', 'todo', 'prune', 'it is already gone; the ledger forgets it', 1),
    ('adopted', 'todo', 'prune', 'it was adopted, not made: it stays, and the ledger forgets it', 1),
    ('twin', 'todo', 'prune', 'a step needs the same file by another name: it stays, and the ledger forgets the old name', 1),
    ('changed', 'blocked', 'conflict', 'it changed since it was made, and stays', 0),
    ('unsafe', 'blocked', 'unsafe-path', NULL, 0),
    ('needed', 'unchanged', 'prune', 'it stays until the other steps of its instance can be done', 0))
    """,
)

# A file stays if any action requests its destination. A file that was moved stays too.
STALE = """
INSERT INTO temp.stale (destination)
SELECT target FROM ledger.done CROSS JOIN action ON action.name = done.action
WHERE done.kind = 'file' AND action.prune IS NOT NULL AND done.fingerprint != :moved
EXCEPT SELECT path || request.name FROM request JOIN folder ON folder.number = request.folder
"""

# One file may have two names: through a link to an output, or on a file system that ignores the case of letters.
TWINS = (
    "UPDATE temp.stale SET place = place(destination)",
    "CREATE INDEX temp.stale_place ON stale (place)",
    "INSERT INTO temp.located SELECT number, place(path) FROM folder",
    """
    INSERT OR IGNORE INTO temp.twin SELECT stale.number FROM request CROSS JOIN step USING (number)
        CROSS JOIN temp.located ON located.number = request.folder
        CROSS JOIN temp.stale ON stale.place = located.place || request.key
    WHERE status != 'blocked'
    """,
)

FOUND = """
UPDATE temp.stale SET found = CASE
    WHEN (action.number, done.SOPInstanceUID) IN (
        SELECT request.action, request.SOPInstanceUID FROM step JOIN request USING (number)
        WHERE status = 'blocked' OR (status = 'unchanged' AND step.reason != 'done')) THEN 'needed'
    WHEN seen.trouble IS NOT NULL THEN 'unsafe'
    WHEN stale.number IN (SELECT number FROM temp.twin) THEN 'twin'
    WHEN done.adopted THEN 'adopted'
    WHEN seen.kind IS NULL THEN 'gone'
    WHEN seen.kind NOT IN ('file', 'link') OR done.changed
        OR (seen.size, seen.mtime_ns) != (done.size, done.mtime_ns) THEN 'changed'
    ELSE 'made' END
FROM ledger.done, action, temp.seen
WHERE done.kind = 'file' AND done.target = stale.destination AND action.name = done.action AND seen.number = stale.number
"""

REQUEST = """
INSERT INTO request SELECT :last + stale.number, action.number, SOPInstanceUID, source, size, mtime_ns, 0, destination,
    NULL, NULL, NULL, 0, 0, NULL, 0
FROM temp.stale CROSS JOIN ledger.done ON done.kind = 'file' AND done.target = destination
    CROSS JOIN action ON action.name = done.action
"""

REMOVAL = """
INSERT INTO removal SELECT :last + stale.number, sha256, forget
FROM temp.stale CROSS JOIN ledger.done ON done.kind = 'file' AND done.target = destination CROSS JOIN temp.verdict USING (found)
"""

STEP = """
INSERT INTO step SELECT :last + stale.number, request.action, status, verdict.reason, coalesce(trouble, verdict.message), 0,
    seen.size, seen.mtime_ns
FROM temp.stale CROSS JOIN request ON request.number = :last + stale.number CROSS JOIN temp.seen ON seen.number = stale.number
    CROSS JOIN temp.verdict USING (found)
"""

# A set that lost most of its instances is more often an error than intended, so nothing of its action is done: the new files
# would soon be the other half.
TOO_MUCH = """
UPDATE step SET status = 'blocked', reason = 'prune',
    message = 'more than half of the files that the action made would be removed; use --allow-prune if that is right'
WHERE status = 'todo' AND action IN (SELECT number FROM action WHERE NOT prune AND
    2 * (SELECT count(*) FROM removal JOIN step USING (number) WHERE action = action.number AND status = 'todo' AND NOT forget)
    > (SELECT count(*) FROM ledger.done WHERE done.kind = 'file' AND done.action = action.name AND done.fingerprint != :moved))
"""


def prune(connection: Connection, facts: Facts, outputs: Outputs) -> None:
    """Add a step for every file that an action with `prune` made and nothing requests. All other steps must be there."""
    for table in TABLES:
        connection.execute(table)
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM request").fetchone()
    given = {"last": last, "moved": Mode.MOVE.fingerprint}
    connection.execute(STALE, given)
    connection.create_function("place", 1, lambda path: collision_key(outputs.real(path)), deterministic=True)
    for statement in TWINS:
        connection.execute(statement)
    connection.executemany("INSERT INTO temp.seen VALUES (?, ?, ?, ?, ?)", _seen(connection, facts))
    for statement in (FOUND, REQUEST, REMOVAL, STEP, TOO_MUCH):
        connection.execute(statement, given)


def _seen(connection: Connection, facts: Facts) -> Iterator[tuple[object, ...]]:
    """Yield what is at the destination of each such file, or why that cannot be known."""
    for number, destination in connection.execute("SELECT number, destination FROM temp.stale"):
        try:
            there = facts.entry(destination)
        except UnsafePath as unsafe:
            yield number, None, None, None, str(unsafe)
        else:
            yield (number, None, None, None, None) if there is None else (number, there.kind, *there.stamp, None)
