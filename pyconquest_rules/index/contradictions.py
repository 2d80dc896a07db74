"""What instances of one index say against each other: view `contradictions`, one row an instance that differs from the rest."""

import sqlite3

VIEW = """
CREATE VIEW contradictions AS
SELECT 'series-in-two-studies' AS Kind, r.SOPInstanceUID, i.{series_link} AS SeriesInstanceUID, r.StudyInstanceUID
FROM rules_strays r JOIN DICOMImages i ON i.{image} = r.SOPInstanceUID
UNION ALL
SELECT 'study-of-two-patients', i.{image}, s.{series}, t.{study}
FROM DICOMStudies t JOIN DICOMSeries s ON s.{study_link} = t.{study} JOIN DICOMImages i ON i.{series_link} = s.{series}
WHERE {image_patient} != t.{patient} AND i.{image} NOT IN (SELECT SOPInstanceUID FROM rules_strays)
"""

COUNT = """
SELECT Kind, count(DISTINCT CASE Kind WHEN 'series-in-two-studies' THEN SeriesInstanceUID ELSE StudyInstanceUID END)
FROM contradictions GROUP BY Kind
"""


def count(connection: sqlite3.Connection) -> dict[str, int]:
    """How many series lie in two studies, and how many studies have two patients; {} where there are none."""
    return dict(connection.execute(COUNT).fetchall())
