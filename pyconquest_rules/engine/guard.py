"""Outputs that lost most of their files, and the number of bytes that a plan writes to each."""

from collections.abc import Callable, Iterator
from sqlite3 import Connection

from pyconquest_rules.answers import Vanished
from pyconquest_rules.disk.facts import Gone
from pyconquest_rules.disk.outputs import Outputs, Root
from pyconquest_rules.engine.world import Facts
from pyconquest_rules.paths import remembered

# For each folder that steps write to, the recorded files that exist and those that do not. Folder 0 is for nodes.
FOUND = """
SELECT path, count(*) FILTER (WHERE reason = 'destination-missing'), count(*) FROM step
    JOIN (SELECT number, folder FROM request) USING (number) JOIN folder ON folder.number = folder
WHERE folder > 0 AND reason IN ('done', 'source-changed', 'rule-changed', 'destination-changed', 'destination-missing')
GROUP BY folder
"""

# The same for each file that an action with `prune` made and that no step needs.
STALE = "SELECT destination, found = 'gone', 1 FROM temp.stale"

BELOW = "SELECT count(*) FROM ledger.done WHERE kind = 'file' AND target >= ? AND target < ?"

TOUCHED = """
SELECT DISTINCT path FROM step JOIN (SELECT number, folder FROM request) USING (number) JOIN folder ON folder.number = folder
WHERE folder > 0 AND status = 'todo'
"""

WRITTEN = """
SELECT path, sum(step.size - coalesce(there_size, 0)) FROM step JOIN request USING (number) JOIN folder ON folder.number = folder
    JOIN action ON action.number = step.action
WHERE folder > 0 AND status = 'todo' AND step.reason != 'adopt' AND mode = 'copy' GROUP BY folder
"""

MOVED = """
SELECT path, source, step.size - coalesce(there_size, 0) FROM step JOIN request USING (number)
    JOIN folder ON folder.number = folder JOIN action ON action.number = step.action
WHERE folder > 0 AND status = 'todo' AND step.reason != 'adopt' AND mode = 'move'
"""


def vanished(connection: Connection, facts: Facts, outputs: Outputs) -> Iterator[Vanished]:
    """Yield the outputs that lost most of the files that were put there, as if a disk were not mounted.

    An output must have at least half of its files. The folder of the rules file cannot be a disk that is not mounted, but an
    empty folder in it can. Somebody may have deleted files on purpose that the plan neither needs nor removes: they only count
    if an output is missing or empty. The ledger must be attached.
    """
    disk = remembered(outputs.disk)
    gone, known = dict[Root | None, int](), dict[Root | None, int]()
    pruned = connection.execute("SELECT 1 FROM temp.sqlite_master WHERE name = 'stale'").fetchone()
    for query in (FOUND, STALE) if pruned else (FOUND,):
        for path, missing, number in connection.execute(query):
            at = disk(path)
            gone[at], known[at] = gone.get(at, 0) + missing, known.get(at, 0) + number
    touched = {disk(path) for (path,) in connection.execute(TOUCHED)} | {at for at, number in gone.items() if number}
    for at in sorted(filter(None, touched)):
        is_output, why = at in outputs.roots, facts.nothing_in(at)
        if why and (is_output or why is Gone.EMPTY):
            below = outputs.prefix(at)
            (number,) = connection.execute(BELOW, (below, below[:-1] + "0")).fetchone()  # "0" comes next to "/"
            if number:
                yield Vanished(at.named, number, number, why)
        elif is_output and 2 * gone.get(at, 0) > known.get(at, 0):
            yield Vanished(at.named, gone[at], known[at])


def written(connection: Connection, device: Callable[[str], int], device_of: Callable[[bytes], int | None]) -> dict[str, int]:
    """Return the number of bytes that a plan writes to each folder, less what it replaces.

    `device` returns the device of a folder, `device_of` that of a file: a move within one device needs no room.
    """
    needed = dict[str, int](connection.execute(WRITTEN))
    for path, source, size in connection.execute(MOVED):
        if device_of(source) != device(path):
            needed[path] = needed.get(path, 0) + size
    return needed
