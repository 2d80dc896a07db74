"""From wishes to steps: which are to be done, which are done already, which are blocked, and why."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, repeat
from sqlite3 import Connection

from pyconquest_rules.facts import Recorded
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.paths import collision_key, renamed
from pyconquest_rules.plan.conflicts import find_collisions, find_conflicts
from pyconquest_rules.plan.facts import Facts
from pyconquest_rules.plan.store import Plan
from pyconquest_rules.steps import Mode

# What is there, beside what the ledger says of this instance there, and what the step wants. `compare` is asked of the disk
# in a second pass. What the ledger knows as another instance's is not ours to replace: it may be the last copy of that. So
# may be whatever a move finds; only where the bytes are the same its source can go.
DECIDE = """
UPDATE step SET reason = CASE
        WHEN p.kind IS NULL AND r.destination IS NOT NULL THEN 'destination-missing'
        WHEN p.kind IS NULL AND x.destination IS NOT NULL THEN 'retry'
        WHEN p.kind IS NULL THEN 'new'
        WHEN p.kind IN ('folder', 'other') THEN 'conflict'
        WHEN r.destination IS NULL OR (p.size, p.mtime_ns) != (r.size, r.mtime_ns)
            OR (a.mode = 'move' AND (r.source_size, r.source_mtime_ns) != (step.size, step.mtime_ns)) THEN 'compare'
        WHEN (r.source_size, r.source_mtime_ns) != (step.size, step.mtime_ns)
            OR (a.mode = 'symlink' AND r.source != step.source) THEN 'source-changed'
        WHEN r.fingerprint != a.fingerprint THEN 'rule-changed'
        WHEN a.mode = 'move' THEN 'adopt'
        ELSE 'done' END,
    there_size = p.size, there_mtime_ns = p.mtime_ns,
    message = CASE WHEN p.kind IN ('folder', 'other') THEN 'something that is no file stands there' END
FROM step AS s JOIN action AS a ON a.name = s.action
    LEFT JOIN temp.present p ON p.destination = s.destination
    LEFT JOIN temp.recorded r ON r.destination = s.destination AND r.SOPInstanceUID = s.SOPInstanceUID
    LEFT JOIN temp.failed x ON x.destination = s.destination
WHERE s.number = step.number AND step.status IS NULL
"""

DOUBTFUL = """
SELECT step.number, a.mode, source, destination FROM step JOIN action AS a ON a.name = step.action
WHERE status IS NULL AND reason = 'compare' AND (there_size = step.size OR a.mode = 'symlink')
"""

# What holds other content than the step would put: ours that somebody changed is mended, what is not ours is for on_conflict.
COMPARED = """
UPDATE step SET reason = CASE
        WHEN number IN (SELECT number FROM temp.alike) THEN 'adopt'
        WHEN a.mode != 'move' AND EXISTS (SELECT 1 FROM temp.recorded r
            WHERE r.destination = step.destination AND r.SOPInstanceUID = step.SOPInstanceUID) THEN 'destination-changed'
        ELSE 'conflict' END
FROM action AS a WHERE a.name = step.action AND status IS NULL AND reason = 'compare'
"""

BY_ON_CONFLICT = """
UPDATE step SET status = CASE WHEN message IS NOT NULL THEN 'blocked' WHEN a.on_conflict = 'skip' THEN 'unchanged'
        WHEN a.on_conflict = 'overwrite' THEN 'todo' ELSE 'blocked' END,
    message = CASE WHEN message IS NOT NULL THEN message
        WHEN EXISTS (SELECT 1 FROM temp.recorded r WHERE r.destination = step.destination)
            THEN 'another instance, which was put there earlier, stands there'
        ELSE 'other content stands there that is not ours' END
FROM action AS a WHERE a.name = step.action AND step.status IS NULL AND reason = 'conflict'
"""

SETTLE = """
UPDATE step SET status = CASE reason WHEN 'done' THEN 'unchanged' ELSE 'todo' END
WHERE status IS NULL AND reason != 'conflict'
"""

RENAMING = """
INSERT INTO temp.renaming SELECT number, destination, SOPInstanceUID FROM step JOIN action ON action.name = step.action
WHERE status IS NULL AND on_conflict = 'rename' AND
"""
COLLIDING = "key IN (SELECT key FROM step WHERE key != '' GROUP BY key HAVING count(*) > 1)"
CONFLICTING = "reason = 'conflict' AND message IS NULL"

# A name that would be the same step twice is not taken: such steps stay in each other's way.
RENAME = "UPDATE OR IGNORE step SET destination = ?, key = ?, reason = NULL WHERE number = ?"

# A file can be moved away once everything else that is wished of it is done, or comes before.
STILL_NEEDED = """
UPDATE step SET status = 'blocked', reason = 'collision', message = 'another step needs the file where it is'
WHERE status = 'todo' AND action IN (SELECT name FROM action WHERE mode = 'move') AND EXISTS (
    SELECT 1 FROM step AS other JOIN action AS a ON a.name = other.action
    WHERE other.SOPInstanceUID = step.SOPInstanceUID AND other.number != step.number AND other.status != 'unchanged'
        AND (other.number > step.number OR a.mode = 'move'))
"""

NEEDS = """
UPDATE step SET status = 'blocked', reason = 'needs', message = 'an action that this one needs has blocked steps'
WHERE action = ? AND status = 'todo' AND EXISTS (
    SELECT 1 FROM step WHERE action IN (SELECT value FROM json_each(?)) AND status = 'blocked')
"""


def decide(plan: Plan, facts: Facts, outputs: Outputs) -> None:
    """Gives every step of `plan` that has none yet a status and a reason. Reads the disk below `outputs`, writes nothing."""
    connection = plan.connection
    connection.execute("BEGIN")
    _gather_ledger(connection, facts)
    _rename(connection, COLLIDING)
    _gather_folders(connection, outputs)
    _gather_present(connection, facts)
    _settle(connection, facts)
    if _rename(connection, CONFLICTING):
        _settle(connection, facts)
    connection.execute(BY_ON_CONFLICT)
    connection.execute(STILL_NEEDED)
    connection.execute("COMMIT")


def hold_back(plan: Plan, needs: Mapping[str, tuple[str, ...]]) -> None:
    """Blocks what is to be done of actions that need one with blocked steps. Actions stand in the order of their needs."""
    for action in plan.actions():
        plan.connection.execute(NEEDS, (action, json.dumps(needs.get(action, ()))))


def _gather_ledger(connection: Connection, facts: Facts) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO temp.recorded VALUES (?, ?, ?, ?, ?, ?, ?, ?)", map(_recorded, facts.recorded())
    )
    connection.executemany("INSERT OR IGNORE INTO temp.failed VALUES (?)", ((destination,) for destination in facts.failed()))


def _recorded(r: Recorded) -> tuple[object, ...]:
    source = (r.source, r.source_stamp.size, r.source_stamp.mtime_ns)
    return (r.destination, r.SOPInstanceUID, *source, r.fingerprint, r.stamp.size, r.stamp.mtime_ns)


def _gather_folders(connection: Connection, outputs: Outputs) -> None:
    """Every folder that steps need, from the root of its output on, with what it was to be called where that is another name."""
    steps = connection.execute("SELECT DISTINCT folder, written FROM step WHERE status IS NULL")
    connection.executemany("INSERT OR IGNORE INTO temp.folder VALUES (?, ?, ?, ?, NULL)", _folders(steps, outputs))


def _folders(steps: Iterable[tuple[str, str]], outputs: Outputs) -> Iterator[tuple[str, str, str, str | None]]:
    for deepest, written in steps:
        folders = [*outputs.folders(deepest)]
        names = chain(reversed(written.split("\0")), repeat(""))
        for folder, parent, name in zip(folders, [*folders[1:], None], names, strict=False):
            # A root, and the folder of the rules file in it, may be written in several ways.
            known = parent is None or not folder or name == os.path.basename(folder)
            yield folder, "" if known else name, collision_key(folder), parent


def _gather_present(connection: Connection, facts: Facts) -> None:
    """What stands in those folders: one listing of each. What is no folder is known from the listing of its parent."""
    for (folder,) in connection.execute("SELECT DISTINCT path FROM temp.folder"):
        connection.executemany("INSERT OR REPLACE INTO temp.present VALUES (?, ?, ?, ?, ?)", _present(folder, facts))


def _present(folder: str, facts: Facts) -> Iterator[tuple[str, str, str, int, int]]:
    for entry in facts.listing(folder):
        path = os.path.join(folder, entry.name)
        if _is_text(path):
            yield path, collision_key(path), entry.kind, entry.stamp.size, entry.stamp.mtime_ns


def _is_text(path: str) -> bool:
    """Whether a name on the disk is UTF-8, as those of all destinations are."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _settle(connection: Connection, facts: Facts) -> None:
    """Settles every step but those whose destination holds other content."""
    find_collisions(connection)
    find_conflicts(connection)
    connection.execute(DECIDE)
    connection.executemany("INSERT INTO temp.alike VALUES (?)", _alike(connection, facts))
    connection.execute(COMPARED)
    connection.execute(SETTLE)


def _alike(connection: Connection, facts: Facts) -> Iterator[tuple[int]]:
    """The steps for which only the bytes of what stands there can tell, and do tell that it is what they would put."""
    doubtful = connection.execute(DOUBTFUL)
    return ((number,) for number, mode, source, destination in doubtful if facts.is_made(Mode(mode), source, destination))


def _rename(connection: Connection, which: str) -> bool:
    """Gives steps a name of their own, made of their SOPInstanceUID: the same one in every run. Whether there were any."""
    connection.execute("DELETE FROM temp.renaming")
    found = connection.execute(RENAMING + which).rowcount
    connection.executemany(RENAME, _renamed(connection))
    return bool(found)


def _renamed(connection: Connection) -> Iterator[tuple[str, str, int]]:
    for number, destination, uid in connection.execute("SELECT * FROM temp.renaming"):
        new = renamed(destination, uid)
        yield new, collision_key(new), number
