"""References of an instance to other instances, series and frames of reference.

Table `rules_references` has references to series, RT objects and frames, for the view `referenced`. Table `rules_pointers` has
every instance that is referenced one by one, for the view `referenced_instances`.
"""

from collections.abc import Iterable, Iterator
from os.path import commonprefix
from typing import NamedTuple

from pyconquest_rules.dicom import Value, tag_path, unpadded
from pyconquest_rules.headers.pointers import Place, Pointer, Pointing

MODALITY = tag_path("Modality")
FRAME = tag_path("FrameOfReferenceUID")

EVIDENCE = "CurrentRequestedProcedureEvidenceSequence[*].ReferencedSeriesSequence[*]"
OTHER_STUDIES = "StudiesContainingOtherReferencedInstancesSequence[*].ReferencedSeriesSequence[*]"
STRUCTURE_SET = "ReferencedFrameOfReferenceSequence[*]"

RT_SERIES = f"{STRUCTURE_SET}.RTReferencedStudySequence[*].RTReferencedSeriesSequence[*]"

# Paths to items with a Referenced SOP Instance UID. Keys are items with a SeriesInstanceUID, values lead on from there.
WITH_SERIES = {
    RT_SERIES: ("ContourImageSequence[*]",),  # RTSTRUCT (PS3.3 C.8.8.5)
    "ReferencedSeriesSequence[*]": (
        "ReferencedInstanceSequence[*]",
        "ReferencedImageSequence[*]",
    ),  # SEG, REG, PR (C.12.4, C.11.11)
    OTHER_STUDIES: ("ReferencedInstanceSequence[*]",),
    "BlendingSequence[*].ReferencedSeriesSequence[*]": ("ReferencedImageSequence[*]",),  # PR (C.11.14)
    "AdvancedBlendingSequence[*]": ("ReferencedImageSequence[*]",),
    "ReferencedSpatialRegistrationSequence[*].ReferencedSeriesSequence[*]": ("ReferencedSOPSequence[*]",),
    EVIDENCE: ("ReferencedSOPSequence[*]",),
    "PertinentOtherEvidenceSequence[*].ReferencedSeriesSequence[*]": ("ReferencedSOPSequence[*]",),
    "PredecessorDocumentsSequence[*].ReferencedSeriesSequence[*]": ("ReferencedSOPSequence[*]",),
}
SERIES = tuple(tag_path(f"{path}.SeriesInstanceUID") for path in WITH_SERIES)
INSTANCES = tuple(
    tag_path(f"{sequence}[*].ReferencedSOPInstanceUID")
    for sequence in ("ReferencedStructureSetSequence", "ReferencedRTPlanSequence", "ReferencedDoseSequence")
)
FRAMES = tuple(
    tag_path(path)
    for path in (
        f"{STRUCTURE_SET}.FrameOfReferenceUID",
        "RegistrationSequence[*].FrameOfReferenceUID",
        "DeformableRegistrationSequence[*].SourceFrameOfReferenceUID",
    )
)

PATHS = (MODALITY, FRAME, *SERIES, *INSTANCES, *FRAMES)

# Objects that are made from images, in their frame of reference. An image series does not refer to another by its frame.
DERIVED = ("RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "RTIMAGE", "SEG", "REG", "SR", "KO", "PR", "RWV", "FID", "ANN", "M3D")

FUNCTIONAL_GROUPS = ("DerivationImageSequence[*].SourceImageSequence[*]", "ReferencedImageSequence[*]")  # SEG (C.7.6.16)
BEAMS = ("ReferencedReferenceImageSequence[*]", "ReferencedDoseSequence[*]")  # RTPLAN (C.8.8.14, C.8.8.25)
# The same for items without a SeriesInstanceUID.
WITHOUT_SERIES = {
    "ReferencedStructureSetSequence[*]": (),
    "ReferencedRTPlanSequence[*]": (),
    "ReferencedDoseSequence[*]": (),
    "ReferencedTreatmentRecordSequence[*]": (),
    "PredecessorStructureSetSequence[*]": (),
    "ReferencedInstanceSequence[*]": (),
    "ReferencedImageSequence[*]": (),
    "SourceImageSequence[*]": (),
    "ReferencedSpatialRegistrationSequence[*]": (),  # RTDOSE (C.8.8.3)
    "ROIContourSequence[*]": ("ContourSequence[*].ContourImageSequence[*]",),
    "StructureSetROISequence[*]": ("DefinitionSourceSequence[*]",),
    "BeamSequence[*]": BEAMS,
    "IonBeamSequence[*]": BEAMS,
    "ApplicationSetupSequence[*]": ("ReferencedReferenceImageSequence[*]",),
    "PatientSetupSequence[*]": ("ReferencedSetupImageSequence[*]",),
    "RegistrationSequence[*]": ("ReferencedImageSequence[*]",),
    "DeformableRegistrationSequence[*]": ("ReferencedImageSequence[*]",),
    "FiducialSetSequence[*]": ("ReferencedImageSequence[*]",),
    "ReferencedImageRealWorldValueMappingSequence[*]": ("ReferencedImageSequence[*]",),
    "SharedFunctionalGroupsSequence[*]": FUNCTIONAL_GROUPS,
    "PerFrameFunctionalGroupsSequence[*]": FUNCTIONAL_GROUPS,
}


def _places() -> Iterator[Place]:
    for series, paths in WITH_SERIES.items():
        for path in paths:
            yield Place(series.partition("[")[0], _items(series), _items(path))
    for begin, paths in WITHOUT_SERIES.items():
        for path in paths or ("",):
            yield Place(begin.partition("[")[0], (), _items(f"{begin}.{path}" if path else begin))
    # The content tree of a report: images, and their presentation states or real world value mappings (PS3.3 C.17.3, C.18.4).
    # The evidence sequences list these too, but not in old files.
    yield Place("ContentSequence", _items("ContentSequence[*]"), _items("ReferencedSOPSequence[*]"), nests=True)


def _items(path: str) -> tuple[tuple[int, int], ...]:
    return tag_path(f"{path}.ReferencedSOPInstanceUID").path


POINTING = Pointing(frozenset(DERIVED), tuple(_places()))
"""The elements to read for the instances that an instance references."""

MOST_TOGETHER = 100
"""How many references one row of `rules_pointers` has at most. `rules_numbers` counts that far."""


class Packed(NamedTuple):
    """A row of `rules_pointers`: references that differ only in the end of their UIDs.

    `suffixes` has `total` texts of `width` characters. `prefix` and one of them make a UID. A `total` of 0 stands for references
    that could not be read.
    """

    SOPClassUID: str | None
    SeriesInstanceUID: str | None
    sequences: str
    prefix: str
    total: int
    width: int
    suffixes: str


def packed(pointers: Iterable[Pointer]) -> tuple[Packed, ...]:
    """Return the rows of `rules_pointers` for the references of an instance."""
    alike = dict[tuple[str | None, str | None, str], list[str]]()
    rows = list[Packed]()
    for uid, sop_class, series, sequences in pointers:
        if uid is None:
            rows.append(Packed(None, None, ",".join(sequences), "", 0, 0, ""))
        else:
            alike.setdefault((sop_class, series, ",".join(sequences)), []).append(uid)
    for same, uids in alike.items():
        for start in range(0, len(uids), MOST_TOGETHER):
            together = uids[start : start + MOST_TOGETHER]
            prefix = commonprefix(together)  # noqa: RUF071 - these are not paths
            width = max(map(len, together)) - len(prefix)
            suffixes = "".join(uid[len(prefix) :].ljust(width) for uid in together)
            rows.append(Packed(*same, prefix, len(together), width, suffixes))
    return tuple(rows)


def references(modality: Value, frame: Value, *found: Value) -> list[tuple[str, str]]:
    """Return the references of an instance with these values of PATHS: `series`, `image` or `frame`, and the UID; each once."""
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
    "CREATE TABLE rules_pointers (SOPInstanceUID TEXT, number INT, SOPClassUID TEXT, SeriesInstanceUID TEXT, sequences TEXT,"
    " prefix TEXT, total INT, width INT, suffixes TEXT, PRIMARY KEY (SOPInstanceUID, number))",
    "CREATE TABLE rules_numbers (number INTEGER PRIMARY KEY)",
    f"INSERT INTO rules_numbers VALUES {', '.join(f'({number})' for number in range(MOST_TOGETHER))}",
)

# pyconquest's column Referenced of a series. A plan or dose references an instance, whose series is known once it is indexed.
REFERENCED_NOW = """(
    SELECT t.{series_link} FROM DICOMImages i JOIN DICOMImages t ON t.{image} = i.ReferencedSOPUID
    WHERE i.{series_link} = DICOMSeries.{series} ORDER BY i.{image} LIMIT 1)"""
OUTDATED = f"WHERE trim({{modality}}) IN ('RTPLAN', 'RTDOSE') AND {{referenced}} IS NOT {REFERENCED_NOW}"
FIND_OUTDATED = f"SELECT 1 FROM DICOMSeries {OUTDATED} LIMIT 1"
FILL_REFERENCED = f"UPDATE DICOMSeries SET {{referenced}} = {REFERENCED_NOW} {OUTDATED}"

# A row for each reference of an instance to a series or an instance, whether that is in the index or not. A frame of reference
# is a reference to every image series of that frame in the index, unless the instance references series by UID.
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

# A row for each reference of an instance to an instance, whether that is in the index or not. References that could not be read
# are a row without ReferencedSOPInstanceUID, which shows that some are missing. A Conquest server has SQLite 3.8.5, which
# opens no database with a view that it cannot parse, so json_each is not used.
INSTANCES_VIEW = """
CREATE VIEW referenced_instances AS
SELECT p.SOPInstanceUID, i.{series_link} AS SeriesInstanceUID, {modality} AS Modality, p.sequences AS Sequences,
    {referenced} AS ReferencedSOPInstanceUID, p.SOPClassUID AS ReferencedSOPClassUID,
    coalesce(p.SeriesInstanceUID, t.{series_link}) AS ReferencedSeriesInstanceUID
FROM rules_pointers p JOIN DICOMImages i ON i.{image} = p.SOPInstanceUID LEFT JOIN DICOMSeries s ON s.{series} = i.{series_link}
LEFT JOIN rules_numbers n ON n.number < p.total LEFT JOIN DICOMImages t ON t.{image} = {referenced}
"""
NAMED = "p.prefix || rtrim(substr(p.suffixes, 1 + n.number * p.width, p.width))"
