"""A digest of the content of an RT object. It does not depend on UIDs, names, dates and texts, which anonymisation changes.

`[index] hash = true` enables it. It reads with pydicom, because the header reader skips contours and dose grids.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from warnings import catch_warnings

from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement

from pyconquest_rules.disk.sources import read_from
from pyconquest_rules.headers.header import check_elements

COUNTED = frozenset({"DS", "IS", "FL", "FD", "US", "SS", "UL", "SL", "CS", "AT"})

DOSE = (
    *("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "PixelRepresentation", "PixelSpacing", "ImagePositionPatient"),
    *("ImageOrientationPatient", "GridFrameOffsetVector", "DoseGridScaling", "DoseUnits", "DoseType", "DoseSummationType"),
)

MOST_ELEMENTS = 200_000
"""The limit on the elements of a file. pydicom takes 16 microseconds and 700 bytes for each."""


def digest(path: bytes, modality: str | None) -> str | None:
    """Return the SHA-256, in hexadecimal, of the contours, beams or dose of an RT object.

    None for other objects, and if the file cannot be read or has more than MOST_ELEMENTS.
    """
    parts = PARTS.get(modality or "")
    if parts is None:
        return None
    try:
        with read_from(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
            check_elements(descriptor, MOST_ELEMENTS)
            with catch_warnings(action="ignore"):  # their texts contain values, and go to standard error
                found = [part.encode() if isinstance(part, str) else part for part in parts(dcmread(file))]
    except Exception:  # noqa: BLE001 - the digest is optional; errors of the file were reported with its header
        return None
    digests = [sha256(part).digest() for part in found]
    return sha256(b"".join(digests)).hexdigest() if digests else None


def _contours(dataset: Dataset) -> Iterator[str]:
    """Yield one part for each ROI. They are sorted by their points, because tools renumber and reorder ROIs."""
    rois = []
    for roi in dataset.get("ROIContourSequence") or ():
        contours = [
            f"{contour.get('ContourGeometricType')}:{','.join(_number(value) for value in contour.get('ContourData') or ())}"
            for contour in roi.get("ContourSequence") or ()
        ]
        rois.append(";".join(contours))
    yield from sorted(rois)


def _beams(dataset: Dataset) -> Iterator[str]:
    """Yield the numbers and codes of all beams and fraction groups."""
    for keyword in ("FractionGroupSequence", "BeamSequence", "IonBeamSequence"):
        for item in dataset.get(keyword) or ():
            yield ";".join(_counted(item))


def _counted(item: Dataset) -> Iterator[str]:
    element: DataElement
    for element in item:
        if element.VR == "SQ":
            for inner in element.value:
                yield from _counted(inner)
        elif element.VR in COUNTED and element.value is not None:
            yield f"{element.tag}={_text(element)}"


def _dose(dataset: Dataset) -> Iterator[str | bytes]:
    """Yield the dose grid, then its values."""
    yield ";".join(f"{keyword}={_text(dataset[keyword])}" for keyword in DOSE if keyword in dataset)
    yield dataset.get("PixelData") or b""


def _text(element: DataElement) -> str:
    values = element.value if element.VM > 1 else [element.value]
    return "\\".join(_number(value) for value in values)


def _number(value: object) -> str:
    """Return a number in one form, however a tool wrote it; other values unchanged."""
    try:
        return repr(float(str(value)))
    except ValueError:
        return str(value)


PARTS: dict[str, Callable[[Dataset], Iterator[str | bytes]]] = {"RTSTRUCT": _contours, "RTPLAN": _beams, "RTDOSE": _dose}
