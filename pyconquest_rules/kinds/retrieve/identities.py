"""Of which patient, study and series instances are: as their files say, for a series of the index has but one study."""

import json
import sqlite3
from collections.abc import Collection

from pyconquest_rules.dicom import tag_path
from pyconquest_rules.headers.header import Wanted, read
from pyconquest_rules.headers.opening import Rejected
from pyconquest_rules.kinds.retrieve.do import Identity

WANTED = Wanted(tuple(tag_path(keyword) for keyword in Identity._fields))
# What the path holds is bytes. A root that is "/" has its slash already.
FILES = """
SELECT f.SOPInstanceUID, CAST(CASE s.path WHEN '/' THEN '' ELSE s.path END || '/' || f.path AS BLOB)
FROM rules_files f JOIN rules_sources s USING (device)
WHERE f.SOPInstanceUID IN (SELECT value FROM json_each(?)) AND f.outcome = 'indexed'
"""


def identities(connection: sqlite3.Connection, uids: Collection[str]) -> dict[str, Identity]:
    """What the files of instances of an index say of them, as far as they can be read."""
    found = {}
    for uid, path in connection.execute(FILES, (json.dumps([*uids]),)).fetchall():
        try:
            found[uid] = Identity(*(str(value or "") for value in read(path, WANTED).values))
        except Rejected:
            continue
    return found
