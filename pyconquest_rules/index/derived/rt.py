"""The columns that pyconquest adds to DICOMImages: ROIs of a structure set, beams of a plan, and references of RT objects.

Lists are JSON, which keeps names with quotes, commas and umlauts intact. In SQL, `json_each(ElementList)` reads them.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pyconquest_rules.dicom import TagPath, Value, tag_path, unpadded
from pyconquest_rules.headers import values

Record = Mapping[TagPath, Value]

MODALITY = tag_path("Modality")
ROI_NAMES = tag_path("StructureSetROISequence[*].ROIName")
ROI_FRAMES = tag_path("StructureSetROISequence[*].ReferencedFrameOfReferenceUID")
STRUCTURE_SET_SERIES = tag_path(
    "ReferencedFrameOfReferenceSequence[*].RTReferencedStudySequence[*].RTReferencedSeriesSequence[*].SeriesInstanceUID"
)
REFERENCED_SERIES = tag_path("ReferencedSeriesSequence[*].SeriesInstanceUID")
STRUCTURE_SETS = tag_path("ReferencedStructureSetSequence[*].ReferencedSOPInstanceUID")
PLANS = tag_path("ReferencedRTPlanSequence[*].ReferencedSOPInstanceUID")
FRACTIONS = tag_path("FractionGroupSequence[*].NumberOfFractionsPlanned")

# Beam number, dose and monitor units of the beams that fraction groups refer to.
REFERENCED_BEAMS = tuple(
    tag_path(f"FractionGroupSequence[*].ReferencedBeamSequence[*].{keyword}")
    for keyword in ("ReferencedBeamNumber", "BeamDose", "BeamMeterset")
)

# In the order of pyconquest: name, type, radiation, wedges, number of control points, then the energy and gantry angle of control
# point 0, dose and monitor units, and the isocentre of control point 0.
BEAM_KEYWORDS = ("BeamNumber", "BeamName", "BeamType", "RadiationType", "NumberOfWedges", "NumberOfControlPoints")
CONTROL_POINT_KEYWORDS = ("NominalBeamEnergy", "GantryAngle", "IsocenterPosition")


def _beams(sequence: str, control_points: str) -> tuple[TagPath, ...]:
    return (
        *(tag_path(f"{sequence}[*].{keyword}") for keyword in BEAM_KEYWORDS),
        *(tag_path(f"{sequence}[*].{control_points}[0].{keyword}") for keyword in CONTROL_POINT_KEYWORDS),
    )


PHOTON_BEAMS = _beams("BeamSequence", "ControlPointSequence")
ION_BEAMS = _beams("IonBeamSequence", "IonControlPointSequence")

PATHS = (
    *(MODALITY, ROI_NAMES, ROI_FRAMES, STRUCTURE_SET_SERIES, REFERENCED_SERIES, STRUCTURE_SETS, PLANS, FRACTIONS),
    *(*REFERENCED_BEAMS, *PHOTON_BEAMS, *ION_BEAMS),
)

COLUMNS = (
    ("ElementCount", "int"),
    ("ElementList", "text"),
    ("Nfractions", "text"),
    ("UniqueFOR_UID", "varchar(64)"),
    ("ReferencedSeriesUID", "varchar(64)"),
    ("ReferencedSOPUID", "varchar(64)"),
)


class Extras(NamedTuple):
    """The values of COLUMNS, in their order."""

    ElementCount: int | None = None
    ElementList: str | None = None
    Nfractions: str | None = None
    UniqueFOR_UID: str | None = None
    ReferencedSeriesUID: str | None = None
    ReferencedSOPUID: str | None = None


MODALITIES = frozenset({"RTSTRUCT", "RTPLAN", "RTDOSE", "REG"})
"""The modalities whose instances have extras."""


def extras(record: Record) -> Extras:
    """Return pyconquest's columns of an instance. `record` has the values of PATHS."""
    modality = record[MODALITY]
    match unpadded(modality) if isinstance(modality, str) else None:
        case "RTSTRUCT":
            names, frames = _items(record, ROI_NAMES), set(_uids(record, ROI_FRAMES))
            frame = frames.pop() if len(frames) == 1 else None
            return Extras(len(names), _json([name or "" for name in names]), None, frame, _first(record, STRUCTURE_SET_SERIES))
        case "RTPLAN":
            beams = [*_listed(record, PHOTON_BEAMS), *_listed(record, ION_BEAMS)]
            return Extras(len(beams), _json(beams), _fractions(record), ReferencedSOPUID=_first(record, STRUCTURE_SETS))
        case "RTDOSE":
            return Extras(ReferencedSOPUID=_first(record, PLANS))
        case "REG":
            series = _uids(record, REFERENCED_SERIES)
            return Extras(len(series), _json(series), ReferencedSeriesUID=series[0] if series else None)
    return Extras()


def _listed(record: Record, paths: tuple[TagPath, ...]) -> Iterator[list[object]]:
    """Yield a list for each beam of a plan."""
    referenced = zip(*(_items(record, path) for path in REFERENCED_BEAMS), strict=False)
    delivered = {_number(number): (_number(dose), _number(units)) for number, dose, units in referenced}
    for number, name, kind, radiation, *numbers, isocentre in zip(*(_items(record, path) for path in paths), strict=False):
        dose, units = delivered.get(_number(number), (None, None))
        position = [_number(part) for part in isocentre.split("\\", 3)] if isocentre else None
        yield [name, kind, radiation, *map(_number, numbers), dose, units, position]


def _fractions(record: Record) -> str | None:
    """Return the planned fractions of the only fraction group, or of several ones as a JSON list."""
    numbers = [_number(text) for text in _items(record, FRACTIONS)]
    return str(numbers[0]) if len(numbers) == 1 and numbers[0] is not None else _json(numbers) if len(numbers) > 1 else None


def _items(record: Record, path: TagPath) -> tuple[str | None, ...]:
    value = record[path]
    return value if isinstance(value, tuple) else ()


def _uids(record: Record, path: TagPath) -> list[str]:
    return [uid for uid in map(unpadded, _items(record, path)) if uid]


def _first(record: Record, path: TagPath) -> str | None:
    return next(iter(_uids(record, path)), None)


def _number(text: str | None) -> int | float | str | None:
    """Return a text that is a number as a number, so that the JSON has 6 and not "6"; else the text."""
    try:
        number = float(text if text and len(text) <= LONGEST_NUMBER else "")
    except ValueError:
        return text
    if not math.isfinite(number):  # JSON has no such numbers
        return text
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


LONGEST_NUMBER = 64


def _json(value: object) -> str | None:
    """Return JSON; None if it is longer than a value may be."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= values.LIMIT else None
