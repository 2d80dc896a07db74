"""Steps that want one path, or a path where something else stands: found by SQL, before the first byte is written."""

from sqlite3 import Connection

# `needed` is every folder that steps need, `present` what stands in these. `above` is the place that a folder lies in.
TABLES = """
CREATE TEMP TABLE needed (
    path TEXT, written TEXT, place INT, above INT, name TEXT, key TEXT, parent TEXT, trouble TEXT,
    PRIMARY KEY (path, written)) WITHOUT ROWID;
CREATE INDEX temp.needed_place ON needed (place);
CREATE TEMP TABLE present (
    place INT, key TEXT, name TEXT, kind TEXT, size INT, mtime_ns INT, PRIMARY KEY (place, key)) WITHOUT ROWID;
CREATE TEMP TABLE contested (place INT, key TEXT, wishes INT, PRIMARY KEY (place, key)) WITHOUT ROWID;
CREATE TEMP TABLE rival (number INTEGER PRIMARY KEY, wishes INT);
CREATE TEMP TABLE obstacle (number INTEGER PRIMARY KEY, reason TEXT, message TEXT);
CREATE TEMP TABLE renaming (
    number INTEGER PRIMARY KEY, action INT, SOPInstanceUID TEXT, folder INT, name TEXT,
    UNIQUE (SOPInstanceUID, folder, name, action));
CREATE TEMP TABLE alike (number INTEGER PRIMARY KEY);
"""

# Paths that more than one wants, of whatever actions: several as a file, or one as a file and others as a folder.
CONTESTED = """
INSERT INTO temp.contested SELECT place, key, sum(file) FROM (
    SELECT folder.place, wish.key, 1 AS file FROM wish CROSS JOIN folder ON folder.number = wish.folder
    UNION ALL SELECT DISTINCT above, key, 0 FROM temp.needed)
GROUP BY place, key HAVING count(*) > 1
"""

RIVALS = """
INSERT INTO temp.rival SELECT wish.number, contested.wishes FROM wish CROSS JOIN folder ON folder.number = wish.folder
    CROSS JOIN temp.contested ON contested.place = folder.place AND contested.key = wish.key
"""

# One instance that an action wants at one path twice is one step.
AGAIN = """
DELETE FROM wish WHERE number IN (SELECT number FROM (
    SELECT wish.number, row_number() OVER (PARTITION BY action, SOPInstanceUID, path || name ORDER BY wish.number) AS nth
    FROM temp.rival JOIN wish ON wish.number = rival.number JOIN folder ON folder.number = wish.folder) WHERE nth > 1)
"""

COLLIDING = """
INSERT OR IGNORE INTO temp.obstacle SELECT number, 'collision',
    CASE WHEN wishes > 1 THEN 'another step wants the same path' ELSE 'another step needs a folder of that name' END
FROM temp.rival
"""

# Folders that some file system would take for one, or that became one only by being made safe: "abc" and "ABC", "a/b" and "a_b".
ALIKE_FOLDERS = """
UPDATE temp.needed SET trouble = 'collision'
WHERE place IN (SELECT place FROM temp.needed GROUP BY place HAVING count(DISTINCT path) > 1 OR count(DISTINCT written) > 1)
"""

# What stands where a folder should be: a link, something else that is no folder, or a folder whose name differs in case only.
ALIKE_PRESENT = """
UPDATE temp.needed SET trouble = CASE p.kind WHEN 'link' THEN 'unsafe-path' ELSE 'conflict' END
FROM temp.present p WHERE p.place = needed.above AND p.key = needed.key
    AND (p.name IS NOT needed.name OR p.kind != 'folder') AND needed.trouble IS NULL
"""

# Trouble of a folder is trouble of all the folders in it.
BELOW = """
UPDATE temp.needed SET trouble = above.trouble FROM temp.needed AS above
WHERE needed.trouble IS NULL AND above.trouble IS NOT NULL AND above.path = needed.parent
"""

IN_TROUBLE = """
INSERT OR IGNORE INTO temp.obstacle SELECT wish.number, trouble,
    CASE trouble WHEN 'collision' THEN 'another step wants a folder whose name is alike'
        WHEN 'conflict' THEN 'something that is no folder, or a folder whose name differs in case only, stands in the way'
        ELSE 'a link stands where a folder should be' END
FROM wish CROSS JOIN folder ON folder.number = wish.folder CROSS JOIN temp.needed ON needed.place = folder.place
WHERE trouble IS NOT NULL AND EXISTS (SELECT 1 FROM temp.needed WHERE trouble IS NOT NULL)
"""


def find_rivals(connection: Connection) -> None:
    """Notes the wishes that want one path. Needs `temp.needed`."""
    connection.execute("DELETE FROM temp.contested")
    connection.execute("DELETE FROM temp.rival")
    if connection.execute(CONTESTED).rowcount:
        connection.execute(RIVALS)


def find_trouble(connection: Connection) -> None:
    """Notes which folders stand in each other's way, or have something else in theirs. Needs `temp.present` too."""
    for statement in (ALIKE_FOLDERS, ALIKE_PRESENT):
        connection.execute(statement)
        while connection.execute(BELOW).rowcount:
            pass


def find_obstacles(connection: Connection) -> None:
    """Notes why wishes cannot be done that stand in each other's way, or in folders that have a trouble."""
    connection.execute(COLLIDING)
    connection.execute(IN_TROUBLE)
