"""`rt-chain`: structure sets, plans and doses with everything that they name, in the same frame of reference."""

import json

from pyconquest_rules.index.derived.references import NAMED
from pyconquest_rules.index.derived.roi import patterns
from pyconquest_rules.kinds.expect.builtins.builtin import Builtin, Given, KeyMistake, Query

OBJECTS = "('RTSTRUCT', 'RTPLAN', 'RTDOSE')"

# The frame of reference of an instance. That of a structure set is the frame of its ROIs; it is NULL if there are several.
FRAME = f"""nullif(CASE WHEN {{0}}.Modality IN {OBJECTS} THEN coalesce({{0}}.UniqueFOR_UID, (
        SELECT CASE count(*) WHEN 1 THEN min(f.UID) END FROM rules_references AS f
        WHERE f.SOPInstanceUID = {{0}}.SOPInstanceUID AND f.kind = 'frame'))
    ELSE {{0}}.FrameOfReferenceUID END, '')"""

# `object` has the RT objects of the set, and `named` what they name, in the index or not. Each CTE is used once, because SQLite
# compiles it for each use.
QUERY = f"""
WITH object AS MATERIALIZED (
    SELECT i.PatientID, i.Modality, i.SeriesInstanceUID, i.SOPInstanceUID, {FRAME.format("i")} AS frame,
        {{lacks_roi}} AS lacks_roi,
        CASE i.Modality WHEN 'RTSTRUCT' THEN 'image' WHEN 'RTPLAN' THEN 'structure set' ELSE 'plan' END AS what
    FROM series AS s CROSS JOIN images AS i ON i.SeriesInstanceUID = s.SeriesInstanceUID
    WHERE s.Modality IN {OBJECTS} AND i.Modality IN {OBJECTS} AND {{object_chosen}}
),
pointing AS (
    SELECT o.*, p.total AS of_row, {NAMED} AS uid
    FROM object AS o LEFT JOIN rules_pointers AS p ON p.SOPInstanceUID = o.SOPInstanceUID AND CASE o.what
            WHEN 'image' THEN p.sequences LIKE '%ReferencedFrameOfReferenceSequence%' OR p.sequences LIKE '%ROIContourSequence%'
            WHEN 'structure set' THEN p.sequences LIKE '%ReferencedStructureSetSequence%'
            ELSE p.sequences LIKE '%ReferencedRTPlanSequence%' END
        LEFT JOIN rules_numbers AS n ON n.number < p.total
),
named AS (
    SELECT *, CASE WHEN uid IS NOT NULL THEN coalesce((
            SELECT CASE WHEN NOT {{named_chosen}} THEN 'left out'
                WHEN o.frame != {FRAME.format("t")} THEN 'elsewhere' ELSE 'there' END
            FROM images AS t WHERE t.SOPInstanceUID = o.uid
        ), 'unknown') END AS state
    FROM pointing AS o
),
counted AS (
    SELECT PatientID, Modality, SeriesInstanceUID, SOPInstanceUID, lacks_roi, what, sum(of_row = 0) AS unread,
        count(uid) AS total, sum(state = 'unknown') AS unknown, sum(state = 'left out') AS left_out,
        sum(state = 'elsewhere') AS elsewhere,
        ' of ' || count(uid) || ' named ' || what || CASE count(uid) WHEN 1 THEN '' ELSE 's' END AS of_total
    FROM named GROUP BY SOPInstanceUID
)
SELECT PatientID, Modality, SeriesInstanceUID, SOPInstanceUID, CASE k.number
        WHEN 0 THEN CASE WHEN total = 0 AND unread IS NOT TRUE THEN 'names no ' || what END
        WHEN 1 THEN CASE WHEN unread THEN 'has references that cannot be read' END
        WHEN 2 THEN CASE WHEN unknown THEN 'not in the index: ' || unknown || of_total END
        WHEN 3 THEN CASE WHEN left_out THEN 'in the index, but not in the set: ' || left_out || of_total END
        WHEN 4 THEN CASE WHEN elsewhere THEN 'in another frame of reference: ' || elsewhere || of_total END
        WHEN 5 THEN CASE WHEN lacks_roi THEN 'has no ROI that roi_match names' END
    END AS problem
FROM counted AS c CROSS JOIN rules_numbers AS k WHERE k.number < 6 AND problem IS NOT NULL ORDER BY SOPInstanceUID, k.number
"""


def _query(given: Given) -> Query:
    """Return the query. Raises KeyMistake for a pattern that is invalid or could take too long."""
    wanted = given.expect.roi_match
    if wanted is not None:
        try:
            patterns(json.dumps(wanted))
        except ValueError as error:
            raise KeyMistake("roi_match", str(error), "a pattern matches the beginning of an ROI name, without case") from None
    lacks_roi = "i.Modality = 'RTSTRUCT' AND roi_match(i.ElementList, :roi) IS NULL" if wanted is not None else "0"
    text = QUERY.format(lacks_roi=lacks_roi, object_chosen=given.within("i"), named_chosen=given.within("t"))
    return Query(text, {"roi": json.dumps(wanted)} if wanted is not None else {})


RT_CHAIN = Builtin(_query, takes=("roi_match",))
