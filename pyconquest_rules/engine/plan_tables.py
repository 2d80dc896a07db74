"""The tables of a plan, and the queries for its steps."""

# Requests are written once; what becomes of them is a narrow table, which can be written again cheaply while it is decided.
# The kind of an action is that of its rows in the ledger: 'file', 'instance' or 'arrival'. Paths of folders end with a slash;
# folder 0 is that of requests without a destination, series 0 that of everything which is not retrieved, recipe 0 that of bytes
# which are delivered as they are, parts 0 that of files which are not made of parts. `delivered` is the SOPInstanceUID of what
# is delivered, if it is another one. Paths that some file system cannot tell apart have the same `key`; `place` numbers the keys
# of folders. A file to be removed is a request too: in folder 0, with the whole path as its name and with the recorded size and
# time; `removal` has the rest. `prune` is NULL, 0 for at most half, or 1.
TABLES = """
CREATE TABLE action (
    number INTEGER PRIMARY KEY, name TEXT UNIQUE, kind TEXT, fingerprint TEXT, mode TEXT, on_conflict TEXT, on_changed TEXT,
    prune INT, node TEXT, confirm INT, into_source TEXT);
CREATE TABLE recipe (number INTEGER PRIMARY KEY, name TEXT, identity TEXT);
CREATE TABLE folder (number INTEGER PRIMARY KEY, path TEXT, written TEXT, key TEXT, place INT);
CREATE TABLE series (number INTEGER PRIMARY KEY, StudyInstanceUID TEXT, SeriesInstanceUID TEXT, SOPClassUID TEXT,
    PatientID TEXT);
CREATE TABLE request (
    number INTEGER PRIMARY KEY, action INT, SOPInstanceUID TEXT, source BLOB, size INT, mtime_ns INT,
    folder INT, name TEXT, key TEXT, reason TEXT, message TEXT, series INT, recipe INT, delivered TEXT, parts INT);
CREATE TABLE part (
    parts INT, number INT, name TEXT, SOPInstanceUID TEXT, source BLOB, size INT, mtime_ns INT, recipe INT,
    PRIMARY KEY (parts, number)) WITHOUT ROWID;
CREATE TABLE covered (parts INT, action INT);
CREATE TABLE step (
    number INTEGER PRIMARY KEY, action INT, status TEXT, reason TEXT, message TEXT, size INT, there_size INT, there_mtime_ns INT);
CREATE TABLE removal (number INTEGER PRIMARY KEY, sha256 TEXT, forget INT);
CREATE TABLE made (day TEXT, variables TEXT);
CREATE TABLE brought_along (action TEXT PRIMARY KEY, instances INT);
CREATE TABLE allowed (what TEXT PRIMARY KEY);
INSERT INTO folder VALUES (0, '', NULL, NULL, 0);
INSERT INTO series VALUES (0, '', '', '', '');
INSERT INTO recipe VALUES (0, '', '');
"""

STEPS = """
SELECT step.number, action.name, request.SOPInstanceUID, step.status, step.reason, step.message,
       action.fingerprint || recipe.identity, action.kind, request.source, request.size, request.mtime_ns, recipe.name,
       recipe.identity, request.parts,
       action.mode, action.node, folder.path || request.name AS destination,
       step.there_size, step.there_mtime_ns, action.into_source, StudyInstanceUID, SeriesInstanceUID, SOPClassUID,
       PatientID, removal.sha256, removal.forget
FROM step CROSS JOIN request ON request.number = step.number
    CROSS JOIN folder ON folder.number = request.folder CROSS JOIN series ON series.number = request.series
    CROSS JOIN recipe ON recipe.number = request.recipe CROSS JOIN action ON action.number = step.action
    LEFT JOIN removal ON removal.number = step.number
"""

# The parts of a group: instances, or all files of the actions that it covers, by name. A file with parts of its own is sorted as
# if it were a folder, as in a lock.
PARTS = """
SELECT name, SOPInstanceUID, source, size, mtime_ns, recipe, identity, inner, action FROM (
    SELECT part.name, SOPInstanceUID, source, size, mtime_ns, recipe.name AS recipe, identity, 0 AS inner, '' AS action,
        part.number AS place
    FROM part JOIN recipe ON recipe.number = part.recipe WHERE parts = ?1
    UNION ALL SELECT folder.path || request.name, SOPInstanceUID, source, size, mtime_ns, recipe.name, identity, request.parts,
        action.name, folder.path || request.name || iif(request.parts > 0, '/', '')
    FROM covered JOIN action ON action.number = covered.action JOIN request ON request.action = action.number
        JOIN folder ON folder.number = request.folder JOIN recipe ON recipe.number = request.recipe
    WHERE covered.parts = ?1 AND folder.number > 0)
ORDER BY place
"""

# What a person should see first: blocked steps, changed files, removals, replacements, then the rest.
RANK = """
CASE WHEN step.reason = 'destination-changed' THEN 1 WHEN status = 'blocked' THEN 0 WHEN step.reason = 'prune' THEN 2
    WHEN there_size IS NOT NULL AND step.reason != 'adopt' THEN 3 ELSE 4 END
"""

# A removal puts nothing at its destination.
ANSWERED = """
INSERT OR REPLACE INTO temp.asked
SELECT destination, iif(removal.number IS NULL, step.status, NULL), coalesce(step.message, step.reason)
FROM step CROSS JOIN request USING (number) CROSS JOIN folder ON folder.number = request.folder
    CROSS JOIN temp.asked ON asked.destination = folder.path || request.name LEFT JOIN removal ON removal.number = step.number
"""
