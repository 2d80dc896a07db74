"""`readable`: few of the DICOM files of a source are refused."""

from pyconquest_rules.kinds.expect.builtins.builtin import Builtin, Given, Query

QUERY = """
WITH refused AS (
    SELECT CASE Outcome WHEN 'rejected' THEN Reason END AS Reason, count(*) AS files
    FROM files WHERE Source = :source AND Outcome != 'skipped' AND coalesce(Reason, '') != 'not-dicom' GROUP BY 1
),
shares AS (
    SELECT *, sum(files) OVER () AS seen, sum(CASE WHEN Reason IS NULL THEN 0 ELSE files END) OVER () AS refused FROM refused
)
SELECT Reason, files, seen, files || ' of ' || seen || ' files are refused: ' || Reason AS problem
FROM shares WHERE Reason IS NOT NULL AND refused > :max_share * seen ORDER BY Reason
"""


def _query(given: Given) -> Query:
    return Query(QUERY, {"source": given.expect.source, "max_share": given.expect.max_share})


READABLE = Builtin(_query, needs=("source",), takes=("max_share",))
