"""`no-conflicts`: no two files have the same SOPInstanceUID and different content."""

from pyconquest_rules.index.store.tables import CONTESTED, OTHER_BYTES
from pyconquest_rules.kinds.expect.builtins.builtin import Builtin, Given, Query

QUERY = f"""
SELECT i.PatientID, i.SeriesInstanceUID, f.SOPInstanceUID, f.Path, f.OtherFile,
    CASE f.Reason WHEN 'conflict' THEN 'rejected: other content than OtherFile, which is indexed'
        ELSE 'left out: other content than OtherFile, which is indexed' END AS problem
FROM (SELECT DISTINCT SOPInstanceUID FROM ({CONTESTED})) AS c CROSS JOIN images AS i ON i.SOPInstanceUID = c.SOPInstanceUID
    CROSS JOIN files AS f ON f.SOPInstanceUID = c.SOPInstanceUID
WHERE f.{OTHER_BYTES} AND {{chosen}} ORDER BY f.SOPInstanceUID, f.Path
"""


def _query(given: Given) -> Query:
    return Query(QUERY.format(chosen=given.within("i")), {})


NO_CONFLICTS = Builtin(_query)
