"""Steps with the same path, or with a path that something else occupies: found by SQL, before the first byte is written."""

from sqlite3 import Connection

# `needed` is every folder that steps need, `present` what is in these folders. `above` is the key of the folder that a folder is
# in, and `inner` its own key there.
TABLES = """
CREATE TEMP TABLE needed (
    path TEXT, written TEXT, key TEXT, above TEXT, inner TEXT, name TEXT, parent TEXT, trouble TEXT,
    PRIMARY KEY (path, written)) WITHOUT ROWID;
CREATE TEMP TABLE place (number INTEGER PRIMARY KEY, key TEXT UNIQUE);
CREATE TEMP TABLE present (
    place INT, key TEXT, name TEXT, kind TEXT, size INT, mtime_ns INT, PRIMARY KEY (place, key)) WITHOUT ROWID;
CREATE TEMP TABLE contested (place INT, key TEXT, requests INT, PRIMARY KEY (place, key)) WITHOUT ROWID;
CREATE TEMP TABLE rival (number INTEGER PRIMARY KEY, requests INT);
CREATE TEMP TABLE shut (number INTEGER PRIMARY KEY, trouble TEXT);
CREATE TEMP TABLE obstacle (number INTEGER PRIMARY KEY, reason TEXT, message TEXT);
CREATE TEMP TABLE renaming (
    number INTEGER PRIMARY KEY, action INT, SOPInstanceUID TEXT, path TEXT, name TEXT,
    UNIQUE (SOPInstanceUID, path, name, action));
CREATE TEMP TABLE alike (number INTEGER PRIMARY KEY);
CREATE TEMP TABLE left_as_is (number INTEGER PRIMARY KEY, reason TEXT);
PRAGMA temp.journal_mode = OFF;
"""

PLACES = (
    "INSERT INTO temp.place (key) SELECT key FROM temp.needed UNION SELECT above FROM temp.needed",
    "UPDATE folder SET place = place.number FROM temp.place WHERE place.key = folder.key",
)

# Paths that several requests of any action have: as a file, or one as a file and others as a folder.
CONTESTED = """
INSERT INTO temp.contested SELECT place, key, sum(file) FROM (
    SELECT folder.place, request.key, 1 AS file FROM request CROSS JOIN folder ON folder.number = request.folder
    UNION ALL SELECT DISTINCT place.number, inner, 0 FROM temp.needed JOIN temp.place ON place.key = needed.above)
GROUP BY place, key HAVING count(*) > 1
"""

RIVALS = """
INSERT INTO temp.rival SELECT request.number, contested.requests FROM request CROSS JOIN folder ON folder.number = request.folder
    CROSS JOIN temp.contested ON contested.place = folder.place AND contested.key = request.key
"""

# An action that requests one instance twice at one path has one step for it. Two groups are never one.
AGAIN = """
DELETE FROM request WHERE number IN (SELECT number FROM (
    SELECT request.number,
        row_number() OVER (PARTITION BY action, SOPInstanceUID, parts, path || name ORDER BY request.number) AS nth
    FROM temp.rival JOIN request ON request.number = rival.number JOIN folder ON folder.number = request.folder) WHERE nth > 1)
"""

COLLIDING = """
INSERT OR IGNORE INTO temp.obstacle SELECT number, 'collision',
    CASE WHEN requests > 1 THEN 'another step has the same path' ELSE 'another step needs a folder of that name' END
FROM temp.rival
"""

# Folders that some file system cannot tell apart, or that only became equal by being made safe: "abc" and "ABC", "a/b" and "a_b".
ALIKE_FOLDERS = """
UPDATE temp.needed SET trouble = 'collision'
WHERE key IN (SELECT key FROM temp.needed GROUP BY key HAVING count(DISTINCT path) > 1 OR count(DISTINCT written) > 1)
"""

# What is in the place of a folder: a link, something else that is not a folder, or a folder whose name differs only in case.
ALIKE_PRESENT = """
UPDATE temp.needed SET trouble = CASE p.kind WHEN 'link' THEN 'unsafe-path' ELSE 'conflict' END
FROM temp.place, temp.present p WHERE place.key = needed.above AND p.place = place.number AND p.key = needed.inner
    AND (p.name IS NOT needed.name OR p.kind != 'folder') AND needed.trouble IS NULL
"""

# The trouble of a folder is that of all folders in it too.
BELOW = """
UPDATE temp.needed SET trouble = above.trouble FROM temp.needed AS above
WHERE needed.trouble IS NULL AND above.trouble IS NOT NULL AND above.path = needed.parent
"""

SHUT = """
INSERT OR IGNORE INTO temp.shut SELECT number, trouble FROM folder JOIN temp.needed USING (key) WHERE trouble IS NOT NULL
"""

IN_SHUT = """
INSERT OR IGNORE INTO temp.obstacle SELECT request.number, trouble,
    CASE trouble WHEN 'collision' THEN 'another step wants a folder whose name is alike'
        WHEN 'conflict' THEN 'something that is no folder, or a folder whose name differs in case only, stands in the way'
        ELSE 'a link stands where a folder should be' END
FROM request CROSS JOIN temp.shut ON shut.number = request.folder
"""


def find_rivals(connection: Connection) -> None:
    """Find the requests that share a path. Needs `temp.needed`."""
    connection.execute("DELETE FROM temp.contested")
    connection.execute("DELETE FROM temp.rival")
    if connection.execute(CONTESTED).rowcount:
        connection.execute(RIVALS)


def find_trouble(connection: Connection) -> None:
    """Find the folders that exclude each other, or whose place is occupied. Needs `temp.present` too."""
    for statement in (ALIKE_FOLDERS, ALIKE_PRESENT):
        connection.execute(statement)
        while connection.execute(BELOW).rowcount:
            pass
    connection.execute(SHUT)


def find_obstacles(connection: Connection) -> None:
    """Find why requests cannot be done: they exclude each other, or their folder cannot be used."""
    connection.execute(COLLIDING)
    if connection.execute("SELECT 1 FROM temp.shut").fetchone():
        connection.execute(IN_SHUT)
