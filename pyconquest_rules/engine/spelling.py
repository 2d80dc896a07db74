"""Destinations that the ledger knows in other letters, on a disk that does not tell small letters from capital ones.

A template may change in case only. There the old name and the new one are one file, which keeps its old name.
"""

from collections.abc import Iterator
from sqlite3 import Connection

from pyconquest_rules.engine.world import Facts
from pyconquest_rules.paths import UnsafePath

# For steps that conflict with their own file: the requested destination, and the one that the same action made.
KNOWN = """
SELECT request.number, path, request.name, target
FROM step JOIN request USING (number) JOIN folder ON folder.number = request.folder JOIN action ON action.number = request.action
    JOIN ledger.done ON done.kind = 'file' AND done.SOPInstanceUID = request.SOPInstanceUID AND done.action = action.name
WHERE step.reason = 'conflict' AND target != path || request.name AND collision_key(target) = folder.key || request.key
"""


def respell(connection: Connection, facts: Facts) -> bool:
    """Spell destinations as the disk does if it is the same file or folder. Return whether any spelling changed."""
    folders: dict[str, str] = {}
    files: list[tuple[str, int]] = []
    for number, path, name, destination in connection.execute(KNOWN).fetchall():
        for requested, known in _levels(path, destination):
            if requested not in folders and requested != known and _is_there(facts, requested):
                folders[requested] = known
        old = destination.rpartition("/")[2]
        if old != name and _is_there(facts, path + name):
            files.append((old, number))
    connection.executemany("UPDATE request SET name = ? WHERE number = ?", files)
    if folders:
        rows = connection.execute("SELECT number, path FROM folder WHERE number > 0").fetchall()
        connection.executemany("UPDATE folder SET path = ? WHERE number = ?", ((_spelled(path, folders), n) for n, path in rows))
    return bool(folders or files)


def _levels(folder: str, destination: str) -> Iterator[tuple[str, str]]:
    """Yield the parent folders of a path, each with a "/" at its end, beside those of another spelling."""
    requested, known = folder.split("/"), destination.split("/")
    for number in range(1, len(requested)):
        yield "/".join(requested[:number]), "/".join(known[:number])


def _is_there(facts: Facts, path: str) -> bool:
    """Return whether something exists under that spelling."""
    try:
        return facts.entry(path) is not None
    except UnsafePath:
        return False


def _spelled(folder: str, known: dict[str, str]) -> str:
    requested = folder.split("/")
    names = (known.get("/".join(requested[: number + 1]), name).rpartition("/")[2] for number, name in enumerate(requested))
    return "/".join(names)
