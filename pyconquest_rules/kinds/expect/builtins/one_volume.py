"""`one-volume`: the images of each series are one stack of slices, all of one kind and none missing."""

from pyconquest_rules.index.derived.geometry import TOLERANCE
from pyconquest_rules.index.derived.references import DERIVED
from pyconquest_rules.kinds.expect.builtins.builtin import Builtin, Given, Query

# Both numbers of PixelSpacing, and how much each may differ in mm. Writers round it differently.
DOWN, ACROSS = "CAST(i.PixelSpacing AS REAL)", "CAST(substr(i.PixelSpacing, instr(i.PixelSpacing, '\\') + 1) AS REAL)"
SAME = 0.001

# `mm` is the distance to the neighbour. Slices are missing if all distances are multiples of the smallest one. Each CTE is used
# once, because SQLite compiles it for each use.
QUERY = f"""
WITH image AS (
    SELECT i.PatientID, i.Modality, i.SeriesInstanceUID, i.Rows, i.Columns, {DOWN} AS down, {ACROSS} AS across,
        coalesce(i.ImageType LIKE '%LOCALIZER%', 0) AS localizer, p.Orientation, round(p.Position, 3) AS position
    FROM images AS i LEFT JOIN rules_slices AS p ON p.SOPInstanceUID = i.SOPInstanceUID
    WHERE coalesce(i.Modality, '') NOT IN ({", ".join(f"'{modality}'" for modality in DERIVED)}) AND {{chosen}}
),
slice AS (
    SELECT *, position - lag(position) OVER (PARTITION BY SeriesInstanceUID, Orientation ORDER BY position) AS mm FROM image
),
compared AS (SELECT *, min(nullif(mm, 0)) OVER (PARTITION BY SeriesInstanceUID) AS least FROM slice),
measured AS (
    SELECT min(PatientID) AS PatientID, min(Modality) AS Modality, SeriesInstanceUID, count(*) AS images,
        count(position) AS placed, count(DISTINCT Orientation) AS orientations, sum(localizer) AS localizers,
        sum(mm = 0) AS repeated,
        max(Rows) != min(Rows) OR max(Columns) != min(Columns) AS sizes,
        max(down) - min(down) > {SAME} OR max(across) - min(across) > {SAME} AS spacings,
        least, max(mm) AS most, sum(max(round(mm / least) - 1, 0)) AS missing,
        max(abs(mm - round(mm / least) * least)) <= {TOLERANCE} AND least > 2 * {TOLERANCE} AS regular,
        ' of ' || count(*) || ' images ' AS of_all
    FROM compared GROUP BY SeriesInstanceUID
)
SELECT PatientID, Modality, SeriesInstanceUID, images, CASE k.number
        WHEN 0 THEN CASE WHEN orientations > 1 THEN orientations || ' orientations' END
        WHEN 1 THEN CASE WHEN sizes THEN 'images of different sizes' END
        WHEN 2 THEN CASE WHEN spacings THEN 'images of different pixel spacings' END
        WHEN 3 THEN CASE WHEN localizers THEN localizers || of_all || 'are localizers' END
        WHEN 4 THEN CASE WHEN placed BETWEEN 1 AND images - 1 THEN (images - placed) || of_all || 'have no position' END
        WHEN 5 THEN CASE WHEN repeated THEN repeated || of_all || 'repeat a position' END
        WHEN 6 THEN CASE WHEN orientations = 1 AND most - least > {TOLERANCE} THEN CASE
            WHEN regular THEN 'slices missing: ' || CAST(missing AS INT)
            ELSE 'distances between slices differ: ' || round(least, 2) || ' to ' || round(most, 2) || ' mm' END END
    END AS problem
FROM measured CROSS JOIN rules_numbers AS k WHERE k.number < 7 AND problem IS NOT NULL ORDER BY SeriesInstanceUID, k.number
"""


def _query(given: Given) -> Query:
    return Query(QUERY.format(chosen=given.within("i")), {})


ONE_VOLUME = Builtin(_query)
