"""`on_conflict = "rename"`: names made of the SOPInstanceUID, the same in every run."""

from sqlite3 import Connection

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
RENAME = """
UPDATE request SET name = new.name, key = collision_key(new.name)
FROM temp.renaming AS new WHERE new.number = request.number
"""


def rename(connection: Connection, which: str) -> bool:
    """Gives requests a name of their own, made of their SOPInstanceUID: the same one in every run. Whether there were any."""
    connection.execute("DELETE FROM temp.renaming")
    if not connection.execute(RENAMING + which).rowcount:
        return False
    connection.execute(TAKEN)
    connection.execute(RENAME)
    return True
