"""Read the patient, study and series of instances from their files, because the index has one study for each series."""

import json
import sqlite3
from collections.abc import Collection

from pyconquest_rules.dicom import tag_path
from pyconquest_rules.disk.sources import header_of
from pyconquest_rules.headers.header import Wanted, reader
from pyconquest_rules.headers.opening import Rejected
from pyconquest_rules.kinds.retrieve.do import Identity

WANTED = Wanted(tuple(tag_path(keyword) for keyword in Identity._fields))
# The path is bytes. The root "/" already ends with a slash.
FILES = """
SELECT f.SOPInstanceUID, CAST(CASE s.path WHEN '/' THEN '' ELSE s.path END || '/' || f.path AS BLOB)
FROM rules_files f JOIN rules_sources s USING (device)
WHERE f.SOPInstanceUID IN (SELECT value FROM json_each(?)) AND f.outcome = 'indexed'
"""


def identities(connection: sqlite3.Connection, uids: Collection[str]) -> dict[str, Identity]:
    """Return the identities of instances of an index, from those of their files that can be read."""
    found = {}
    for uid, path in connection.execute(FILES, (json.dumps([*uids]),)).fetchall():
        try:
            found[uid] = Identity(*(str(value or "") for value in header_of(path, reader(WANTED)).values))
        except Rejected:
            continue
    return found
