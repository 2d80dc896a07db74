"""`no-contradictions`: no series is in two studies, and no study has two patients."""

from pyconquest_rules.kinds.expect.builtins.builtin import Builtin, Given, Query

# The view `contradictions` has a row for each instance that differs. Here is one for each series or study.
QUERY = """
WITH differing AS (
    SELECT CASE Kind WHEN 'series-in-two-studies' THEN SeriesInstanceUID END AS series, StudyInstanceUID
    FROM contradictions
),
of_one AS (
    SELECT series, min(StudyInstanceUID) AS StudyInstanceUID, count(*) AS instances
    FROM differing GROUP BY series, CASE WHEN series IS NULL THEN StudyInstanceUID END
)
SELECT c.series AS SeriesInstanceUID, c.StudyInstanceUID, c.instances, CASE
        WHEN c.series IS NULL THEN 'the study has two patients: ' || c.instances || ' of its instances have another PatientID'
        ELSE 'the series is in two studies: ' || c.instances || ' of its instances have this StudyInstanceUID' END AS problem
FROM of_one AS c WHERE EXISTS (
    SELECT 1 FROM images AS i WHERE {chosen} AND i.SeriesInstanceUID IN (
        SELECT c.series UNION ALL
        SELECT s.SeriesInstanceUID FROM series AS s WHERE c.series IS NULL AND s.StudyInstanceUID = c.StudyInstanceUID))
"""


def _query(given: Given) -> Query:
    return Query(QUERY.format(chosen=given.within("i")), {})


NO_CONTRADICTIONS = Builtin(_query)
