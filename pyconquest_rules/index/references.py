"""What an instance points at: other instances, series and frames of reference. Table `rules_references`, view `referenced`."""

from collections.abc import Iterator

from pyconquest_rules.dicom import Value, tag_path, unpadded

MODALITY = tag_path("Modality")
FRAME = tag_path("FrameOfReferenceUID")

EVIDENCE = "CurrentRequestedProcedureEvidenceSequence[*].ReferencedSeriesSequence[*]"
OTHER_STUDIES = "StudiesContainingOtherReferencedInstancesSequence[*].ReferencedSeriesSequence[*]"
STRUCTURE_SET = "ReferencedFrameOfReferenceSequence[*]"

SERIES = tuple(
    tag_path(f"{path}.SeriesInstanceUID")
    for path in (
        "ReferencedSeriesSequence[*]",  # SEG, REG, PR and whatever else has it (PS3.3 C.12.4)
        OTHER_STUDIES,
        EVIDENCE,  # SR and KO (PS3.3 C.17.2)
        f"{STRUCTURE_SET}.RTReferencedStudySequence[*].RTReferencedSeriesSequence[*]",
    )
)
INSTANCES = tuple(
    tag_path(f"{sequence}[*].ReferencedSOPInstanceUID")
    for sequence in ("ReferencedStructureSetSequence", "ReferencedRTPlanSequence", "ReferencedDoseSequence")
)
FRAMES = tuple(tag_path(path) for path in (f"{STRUCTURE_SET}.FrameOfReferenceUID", "RegistrationSequence[*].FrameOfReferenceUID"))

PATHS = (MODALITY, FRAME, *SERIES, *INSTANCES, *FRAMES)

# What is made from images and lies in their frame of reference; an image series itself refers to nothing by it.
DERIVED = ("RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "RTIMAGE", "SEG", "REG", "SR", "KO", "PR", "RWV", "FID", "ANN", "M3D")


def references(modality: Value, frame: Value, *found: Value) -> list[tuple[str, str]]:
    """What an instance with these values of PATHS points at: `series`, `image` or `frame`, and UID; each once."""
    pairs = [(kind, uid) for kind, value in zip(KINDS, found, strict=True) if value for uid in _uids(value)]
    if isinstance(modality, str) and unpadded(modality) in DERIVED:
        pairs += [("frame", uid) for uid in _uids(frame)]
    return list(dict.fromkeys(pairs)) if pairs else pairs


KINDS = (*("series" for _ in SERIES), *("image" for _ in INSTANCES), *("frame" for _ in FRAMES))


def _uids(value: Value) -> Iterator[str]:
    yield from filter(None, map(unpadded, value if isinstance(value, tuple) else (value,)))


TABLE = (
    "CREATE TABLE rules_references (SOPInstanceUID TEXT, kind TEXT, UID TEXT, PRIMARY KEY (SOPInstanceUID, kind, UID))"
    " WITHOUT ROWID",
    "CREATE INDEX rules_references_uid ON rules_references (UID)",
)

# pyconquest's column Referenced of a series: a plan and a dose point at an instance, whose series is known once it is indexed.
REFERENCED_NOW = """(
    SELECT t.{series_link} FROM DICOMImages i JOIN DICOMImages t ON t.{image} = i.ReferencedSOPUID
    WHERE i.{series_link} = DICOMSeries.{series} ORDER BY i.{image} LIMIT 1)"""
OUTDATED = f"WHERE trim({{modality}}) IN ('RTPLAN', 'RTDOSE') AND {{referenced}} IS NOT {REFERENCED_NOW}"
FIND_OUTDATED = f"SELECT 1 FROM DICOMSeries {OUTDATED} LIMIT 1"
FILL_REFERENCED = f"UPDATE DICOMSeries SET {{referenced}} = {REFERENCED_NOW} {OUTDATED}"

# A row for each instance and each series or instance that it points at, whether that is in the index or not. By a frame of
# reference it points at every image series of that frame in the index, unless it names series by their UID.
VIEW = """
CREATE VIEW referenced AS
SELECT r.SOPInstanceUID, i.{series_link} AS SeriesInstanceUID, trim(s.{modality}) AS Modality, 'uid' AS Method,
    CASE r.kind WHEN 'image' THEN r.UID END AS ReferencedSOPInstanceUID,
    CASE r.kind WHEN 'series' THEN r.UID ELSE t.{series_link} END AS ReferencedSeriesInstanceUID
FROM rules_references r JOIN DICOMImages i ON i.{image} = r.SOPInstanceUID JOIN DICOMSeries s ON s.{series} = i.{series_link}
LEFT JOIN DICOMImages t ON r.kind = 'image' AND t.{image} = r.UID
WHERE r.kind IN ('series', 'image')
UNION ALL
SELECT r.SOPInstanceUID, i.{series_link}, trim(s.{modality}), 'frame-of-reference', NULL, t.{series}
FROM rules_references r JOIN DICOMImages i ON i.{image} = r.SOPInstanceUID JOIN DICOMSeries s ON s.{series} = i.{series_link}
JOIN DICOMSeries t ON t.{frame} = r.UID AND t.{series} != s.{series} AND trim(t.{modality}) NOT IN ({derived})
WHERE r.kind = 'frame' AND NOT EXISTS (
    SELECT 1 FROM rules_references n WHERE n.SOPInstanceUID = r.SOPInstanceUID AND n.kind = 'series')
"""
