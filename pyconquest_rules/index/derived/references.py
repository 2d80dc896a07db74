"""What an instance points at: other instances, series and frames of reference.

Table `rules_references` has the links of a chain, for the view `referenced`. Table `rules_pointers` has every instance that is
named one by one, for the view `referenced_instances`.
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


RT_SERIES = f"{STRUCTURE_SET}.RTReferencedStudySequence[*].RTReferencedSeriesSequence[*]"

# Ways to items with a Referenced SOP Instance UID: those that may tell its series first, with what leads on from there.
IN_SERIES = {
    RT_SERIES: ("ContourImageSequence[*]",),  # RTSTRUCT (PS3.3 C.8.8.5)
    "ReferencedSeriesSequence[*]": (
        "ReferencedInstanceSequence[*]",
        "ReferencedImageSequence[*]",
    ),  # SEG, REG, PR (C.12.4, C.11.11)
    OTHER_STUDIES: ("ReferencedInstanceSequence[*]",),
    "BlendingSequence[*].ReferencedSeriesSequence[*]": ("ReferencedImageSequence[*]",),  # PR (C.11.14)
    EVIDENCE: ("ReferencedSOPSequence[*]",),
    "PertinentOtherEvidenceSequence[*].ReferencedSeriesSequence[*]": ("ReferencedSOPSequence[*]",),
    "PredecessorDocumentsSequence[*].ReferencedSeriesSequence[*]": ("ReferencedSOPSequence[*]",),
}
FUNCTIONAL_GROUPS = ("DerivationImageSequence[*].SourceImageSequence[*]", "ReferencedImageSequence[*]")  # SEG (C.7.6.16)
BEAMS = ("ReferencedReferenceImageSequence[*]", "ReferencedDoseSequence[*]")  # RTPLAN (C.8.8.14, C.8.8.25)
ALONE = {
    "ReferencedStructureSetSequence[*]": (),
    "ReferencedRTPlanSequence[*]": (),
    "ReferencedDoseSequence[*]": (),
    "ReferencedTreatmentRecordSequence[*]": (),
    "PredecessorStructureSetSequence[*]": (),
    "ReferencedInstanceSequence[*]": (),
    "ReferencedImageSequence[*]": (),
    "SourceImageSequence[*]": (),
    "ROIContourSequence[*]": ("ContourSequence[*].ContourImageSequence[*]",),
    "StructureSetROISequence[*]": ("DefinitionSourceSequence[*]",),
    "BeamSequence[*]": BEAMS,
    "IonBeamSequence[*]": BEAMS,
    "RegistrationSequence[*]": ("ReferencedImageSequence[*]",),
    "DeformableRegistrationSequence[*]": ("ReferencedImageSequence[*]",),
    "FiducialSetSequence[*]": ("ReferencedImageSequence[*]",),
    "ReferencedImageRealWorldValueMappingSequence[*]": ("ReferencedImageSequence[*]",),
    "SharedFunctionalGroupsSequence[*]": FUNCTIONAL_GROUPS,
    "PerFrameFunctionalGroupsSequence[*]": FUNCTIONAL_GROUPS,
}


def _places() -> Iterator[Place]:
    for series, ways in IN_SERIES.items():
        for way in ways:
            yield Place(series.partition("[")[0], _items(series), _items(way))
    for begin, ways in ALONE.items():
        for way in ways or ("",):
            yield Place(begin.partition("[")[0], (), _items(f"{begin}.{way}" if way else begin))


def _items(way: str) -> tuple[tuple[int, int], ...]:
    return tag_path(f"{way}.ReferencedSOPInstanceUID").path


POINTING = Pointing(frozenset(DERIVED), tuple(_places()))
"""What is read of an instance to find the instances that it names."""

# So many names are in one row: `rules_numbers` counts them.
MOST_TOGETHER = 100


class Packed(NamedTuple):
    """Instances named alike: their UIDs are `prefix` and each of `total` texts in `suffixes`, which take `width` characters each.

    A row of `rules_pointers`. A `total` of 0 stands for instances that could not be read.
    """

    SOPClassUID: str | None
    SeriesInstanceUID: str | None
    sequences: str
    prefix: str
    total: int
    width: int
    suffixes: str


def packed(pointers: Iterable[Pointer]) -> tuple[Packed, ...]:
    """The rows for the instances that an instance names."""
    alike = dict[tuple[str | None, str | None, str], list[str]]()
    rows = list[Packed]()
    for uid, sop_class, series, sequences in pointers:
        if uid is None:
            rows.append(Packed(None, None, ",".join(sequences), "", 0, 0, ""))
        else:
            alike.setdefault((sop_class, series, ",".join(sequences)), []).append(uid)
    for told, uids in alike.items():
        for start in range(0, len(uids), MOST_TOGETHER):
            together = uids[start : start + MOST_TOGETHER]
            prefix = commonprefix(together)  # noqa: RUF071 - these are no paths
            width = max(map(len, together)) - len(prefix)
            suffixes = "".join(uid[len(prefix) :].ljust(width) for uid in together)
            rows.append(Packed(*told, prefix, len(together), width, suffixes))
    return tuple(rows)


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
    "CREATE TABLE rules_pointers (SOPInstanceUID TEXT, number INT, SOPClassUID TEXT, SeriesInstanceUID TEXT, sequences TEXT,"
    " prefix TEXT, total INT, width INT, suffixes TEXT, PRIMARY KEY (SOPInstanceUID, number))",
    "CREATE TABLE rules_numbers (number INTEGER PRIMARY KEY)",
    f"INSERT INTO rules_numbers VALUES {', '.join(f'({number})' for number in range(MOST_TOGETHER))}",
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

# A row for each instance and each instance that it names, whether that is in the index or not. What could not be read is a row
# without ReferencedSOPInstanceUID, so that nobody takes the others for all. A Conquest server brings SQLite 3.8.5, which opens no
# database with a view that it cannot parse: no json_each.
INSTANCES_VIEW = """
CREATE VIEW referenced_instances AS
SELECT p.SOPInstanceUID, i.{series_link} AS SeriesInstanceUID, {modality} AS Modality, p.sequences AS Sequences,
    {referenced} AS ReferencedSOPInstanceUID, p.SOPClassUID AS ReferencedSOPClassUID,
    coalesce(p.SeriesInstanceUID, t.{series_link}) AS ReferencedSeriesInstanceUID
FROM rules_pointers p JOIN DICOMImages i ON i.{image} = p.SOPInstanceUID LEFT JOIN DICOMSeries s ON s.{series} = i.{series_link}
LEFT JOIN rules_numbers n ON n.number < p.total LEFT JOIN DICOMImages t ON t.{image} = {referenced}
"""
NAMED = "p.prefix || rtrim(substr(p.suffixes, 1 + n.number * p.width, p.width))"
