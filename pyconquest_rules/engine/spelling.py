"""Destinations that the ledger knows in other letters, on a disk that does not tell small letters from capital ones.

A template may change in case only. There the old name and the new one are one file, which keeps its old name.
"""

from collections.abc import Iterator
from sqlite3 import Connection

from pyconquest_rules.engine.world import Facts
from pyconquest_rules.paths import UnsafePath

# Of what stands in its own way: the destination as it is wished, and as the same action made it of the same instance.
KNOWN = """
SELECT request.number, path, request.name, target
FROM step JOIN request USING (number) JOIN folder ON folder.number = request.folder JOIN action ON action.number = request.action
    JOIN ledger.done ON done.kind = 'file' AND done.SOPInstanceUID = request.SOPInstanceUID AND done.action = action.name
WHERE step.reason = 'conflict' AND target != path || request.name AND collision_key(target) = folder.key || request.key
"""


def respell(connection: Connection, facts: Facts) -> bool:
    """Name destinations as the disk has them, where that is the same file or folder. Return whether any got another name."""
    folders: dict[str, str] = {}
    files: list[tuple[str, int]] = []
    for number, path, name, destination in connection.execute(KNOWN).fetchall():
        for wished, known in _levels(path, destination):
            if wished not in folders and wished != known and _is_there(facts, wished):
                folders[wished] = known
        old = destination.rpartition("/")[2]
        if old != name and _is_there(facts, path + name):
            files.append((old, number))
    connection.executemany("UPDATE request SET name = ? WHERE number = ?", files)
    if folders:
        rows = connection.execute("SELECT number, path FROM folder WHERE number > 0").fetchall()
        connection.executemany("UPDATE folder SET path = ? WHERE number = ?", ((_spelled(path, folders), n) for n, path in rows))
    return bool(folders or files)


def _levels(folder: str, destination: str) -> Iterator[tuple[str, str]]:
    """A folder, with a "/" at its end, and those that it lies in, each beside how another spelling of a file in it has it."""
    wished, known = folder.split("/"), destination.split("/")
    for number in range(1, len(wished)):
        yield "/".join(wished[:number]), "/".join(known[:number])


def _is_there(facts: Facts, path: str) -> bool:
    """Whether something is found under that spelling."""
    try:
        return facts.entry(path) is not None
    except UnsafePath:
        return False


def _spelled(folder: str, known: dict[str, str]) -> str:
    wished = folder.split("/")
    names = (known.get("/".join(wished[: number + 1]), name).rpartition("/")[2] for number, name in enumerate(wished))
    return "/".join(names)
