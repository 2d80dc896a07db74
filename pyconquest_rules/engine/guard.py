"""What of a plan the disk speaks against: outputs that lost most of their files, and how much is to be written where."""

from collections.abc import Callable, Iterator
from sqlite3 import Connection

from pyconquest_rules.answers import Vanished
from pyconquest_rules.disk.facts import Gone
from pyconquest_rules.disk.outputs import Outputs, Root
from pyconquest_rules.engine.world import Facts
from pyconquest_rules.paths import remembered

# What the ledger knows and is there, or is not, of each folder that steps put something into. Folder 0 has what goes to nodes.
FOUND = """
SELECT path, count(*) FILTER (WHERE reason = 'destination-missing'), count(*) FROM step
    JOIN (SELECT number, folder FROM request) USING (number) JOIN folder ON folder.number = folder
WHERE folder > 0 AND reason IN ('done', 'source-changed', 'rule-changed', 'destination-changed', 'destination-missing')
GROUP BY folder
"""

# The same of each destination that an action with `prune` made and that no step wants.
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
    """Yield the outputs in which most of what was put there is not there any more, as on a disk that is not mounted.

    An output must have at least half of its files. The folder of the rules file cannot be a disk that is not mounted, but a
    folder in it can, if it is empty. Files that the plan neither wants nor removes may have been deleted for good: they count
    only if an output is missing or empty. The ledger must be attached.
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
    """Return how many bytes a plan writes, less what it replaces, for each folder that gets any.

    `device` is that of a folder, `device_of` that of a file: what is moved within one takes no room.
    """
    needed = dict[str, int](connection.execute(WRITTEN))
    for path, source, size in connection.execute(MOVED):
        if device_of(source) != device(path):
            needed[path] = needed.get(path, 0) + size
    return needed
