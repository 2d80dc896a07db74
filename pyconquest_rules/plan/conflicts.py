"""Steps that want one path, or a path where something else stands: found by SQL, before the first byte is written."""

from sqlite3 import Connection

# Two steps, of whatever actions, that want one path, compared without case and in NFKC.
SAME_PATH = """
UPDATE step SET status = 'blocked', reason = 'collision', message = 'another step wants the same path'
WHERE status IS NULL AND key IN (SELECT key FROM step WHERE key != '' GROUP BY key HAVING count(*) > 1)
"""

# A step that wants as a file what another needs as a folder.
FILE_AND_FOLDER = """
UPDATE step SET status = 'blocked', reason = 'collision', message = 'another step needs a folder of that name'
WHERE status IS NULL AND key IN (SELECT key FROM temp.folder WHERE key != '')
"""

# Folders that some file system would take for one, or that became one only by being made safe: "abc" and "ABC", "a/b" and "a_b".
ALIKE_FOLDERS = """
UPDATE temp.folder SET trouble = 'collision'
WHERE key IN (SELECT key FROM temp.folder GROUP BY key HAVING count(DISTINCT path) > 1 OR count(DISTINCT written) > 1)
"""

# What stands where a folder should be: a link, something else that is no folder, or a folder whose name differs in case only.
ALIKE_PRESENT = """
UPDATE temp.folder SET trouble = CASE p.kind WHEN 'link' THEN 'unsafe-path' ELSE 'conflict' END
FROM temp.present p WHERE p.key = folder.key AND (p.destination != folder.path OR p.kind != 'folder') AND folder.trouble IS NULL
"""

ALIKE_FILES = """
UPDATE step SET status = 'blocked', reason = 'conflict', message = 'a file whose name differs in case only stands there'
WHERE status IS NULL AND EXISTS (SELECT 1 FROM temp.present p WHERE p.key = step.key AND p.destination != step.destination)
"""

IN_TROUBLE = """
UPDATE step SET status = 'blocked', reason = f.trouble,
    message = CASE f.trouble WHEN 'collision' THEN 'another step wants a folder whose name is alike'
        WHEN 'conflict' THEN 'something that is no folder, or a folder whose name differs in case only, stands in the way'
        ELSE 'a link stands where a folder should be' END
FROM temp.folder f WHERE f.path = step.folder AND f.trouble IS NOT NULL AND step.status IS NULL
"""

# Trouble of a folder is trouble of all the folders in it.
BELOW = """
UPDATE temp.folder SET trouble = above.trouble FROM temp.folder above
WHERE folder.trouble IS NULL AND above.trouble IS NOT NULL
    AND above.path = folder.parent
"""


def find_collisions(connection: Connection) -> None:
    """Blocks the steps that stand in each other's way. Needs `temp.folder`."""
    connection.execute(SAME_PATH)
    connection.execute(FILE_AND_FOLDER)
    connection.execute(ALIKE_FOLDERS)
    block_in_folders(connection)


def find_conflicts(connection: Connection) -> None:
    """Blocks the steps in whose way something stands that is not a file at their very path. Needs `temp.present` too."""
    connection.execute(ALIKE_PRESENT)
    block_in_folders(connection)
    connection.execute(ALIKE_FILES)


def block_in_folders(connection: Connection) -> None:
    """Blocks the steps in folders that have a trouble, at any depth."""
    while connection.execute(BELOW).rowcount:
        pass
    connection.execute(IN_TROUBLE)
