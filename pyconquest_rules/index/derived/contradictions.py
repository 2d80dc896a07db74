"""Contradictions between instances: the view `contradictions` has a row for each instance that differs from the others.

Table `rules_several_patients` has all studies with instances whose PatientID is not that of the study. It may also have
studies that are consistent again. Only these studies are searched, so the time does not depend on the size of the index.
"""

import sqlite3

from pyconquest_rules.dicom import Level

TABLE = "CREATE TABLE rules_several_patients (StudyInstanceUID TEXT PRIMARY KEY) WITHOUT ROWID"

VIEWS = (
    """
CREATE VIEW rules_patient_of AS
SELECT i.{image} AS SOPInstanceUID, s.{series} AS SeriesInstanceUID, t.{study} AS StudyInstanceUID,
    {image_patient} AS PatientID, {series_patient} AS of_series, t.{patient} AS of_study
FROM rules_several_patients m CROSS JOIN DICOMStudies t ON t.{study} = m.StudyInstanceUID
    CROSS JOIN DICOMSeries s ON s.{study_link} = t.{study} CROSS JOIN DICOMImages i ON i.{series_link} = s.{series}
""",
    """
CREATE VIEW contradictions AS
SELECT 'series-in-two-studies' AS Kind, r.SOPInstanceUID, i.{series_link} AS SeriesInstanceUID, r.StudyInstanceUID
FROM rules_strays r JOIN DICOMImages i ON i.{image} = r.SOPInstanceUID
UNION ALL
SELECT 'study-of-two-patients', SOPInstanceUID, SeriesInstanceUID, StudyInstanceUID FROM rules_patient_of
WHERE PatientID != of_study AND SOPInstanceUID NOT IN (SELECT SOPInstanceUID FROM rules_strays)
""",
)

# IS NOT, because the PatientID of images is NULL if the table layout lacks it.
OF_ONE_PATIENT = """
DELETE FROM rules_several_patients WHERE StudyInstanceUID IN (SELECT key FROM temp.touched WHERE level = 'study')
    AND NOT EXISTS (SELECT 1 FROM rules_patient_of AS o WHERE o.StudyInstanceUID = rules_several_patients.StudyInstanceUID
        AND (PatientID IS NOT of_study OR PatientID IS NOT of_series))
"""

COUNT = """
SELECT Kind, count(DISTINCT CASE Kind WHEN 'series-in-two-studies' THEN SeriesInstanceUID ELSE StudyInstanceUID END)
FROM contradictions GROUP BY Kind
"""


def count(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many series are in two studies, and how many studies have two patients; {} if there are none."""
    return dict(connection.execute(COUNT).fetchall())


def brought_along(connection: sqlite3.Connection, level: Level, keys: str) -> int:
    """Return how many instances of some studies or series have another PatientID than these.

    `keys` is a query for the UIDs of the studies or series.
    """
    if not connection.execute("SELECT 1 FROM rules_several_patients LIMIT 1").fetchone():
        return 0
    of = {Level.STUDY: "of_study", Level.SERIES: "of_series"}[level]
    query = f"SELECT count(*) FROM rules_patient_of WHERE PatientID != {of} AND {level.key} IN ({keys})"
    (number,) = connection.execute(query).fetchone()
    return int(number)
