"""What the builtins of `[expect.NAME]` must find in DICOM files, computed from the files with pydicom alone.

Each function takes data sets and returns the findings: UIDs and the problem in the words of the builtin.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from warnings import catch_warnings

from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation

Finding = tuple[str, str]
Chosen = Callable[[Dataset], bool]

DERIVED = {"RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "RTIMAGE", "SEG", "REG", "SR", "KO", "PR", "RWV", "FID", "ANN", "M3D"}


def read(files: Iterable[Path]) -> list[Dataset]:
    """Return the data sets of files, without their pixels."""
    with disable_value_validation(), catch_warnings(action="ignore"):
        return [dcmread(file, stop_before_pixels=True, force=True) for file in files]


def text(dataset: Dataset, keyword: str) -> str:
    """Return a value as text without padding; "" if it is missing."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def by_series(datasets: Iterable[Dataset]) -> dict[str, list[Dataset]]:
    """Return the data sets of each series."""
    found = defaultdict[str, list[Dataset]](list)
    for dataset in datasets:
        found[text(dataset, "SeriesInstanceUID")].append(dataset)
    return found


def rt_chain(datasets: list[Dataset], chosen: Chosen = lambda _: True, roi: tuple[str, ...] = ()) -> set[Finding]:
    """Return what the chosen RT objects lack; `roi` are patterns of ROI names."""
    known, found = {text(each, "SOPInstanceUID"): each for each in datasets}, set[Finding]()
    for dataset in filter(chosen, datasets):
        uid, modality = text(dataset, "SOPInstanceUID"), text(dataset, "Modality")
        if modality not in WHAT:
            continue
        named = set(NAMED[modality](dataset))
        there = [known[each] for each in named & known.keys()]
        counts = {
            "not in the index: ": len(named - known.keys()),
            "in the index, but not in the set: ": sum(not chosen(each) for each in there),
            "in another frame of reference: ": sum(chosen(each) and differ(frame(dataset), frame(each)) for each in there),
        }
        what = WHAT[modality] if len(named) == 1 else f"{WHAT[modality]}s"
        found |= {(uid, f"{problem}{n} of {len(named)} named {what}") for problem, n in counts.items() if n}
        if not named:
            found.add((uid, f"names no {WHAT[modality]}"))
        names = [text(each, "ROIName") for each in dataset.get("StructureSetROISequence") or ()]
        if modality == "RTSTRUCT" and roi and not any(re.match(pattern, name, re.I) for pattern in roi for name in names):
            found.add((uid, "has no ROI that roi_match names"))
    return found


WHAT = {"RTSTRUCT": "image", "RTPLAN": "structure set", "RTDOSE": "plan"}


def images_of(structure_set: Dataset) -> Iterator[str]:
    """Yield the UIDs of the images that a structure set and its contours name."""
    for frame_of_reference in structure_set.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame_of_reference.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                yield from uids(series, "ContourImageSequence")
    for roi in structure_set.get("ROIContourSequence") or ():
        for contour in roi.get("ContourSequence") or ():
            yield from uids(contour, "ContourImageSequence")


def uids(dataset: Dataset, sequence: str) -> Iterator[str]:
    """Yield the Referenced SOP Instance UIDs of a sequence."""
    yield from filter(None, (text(item, "ReferencedSOPInstanceUID") for item in dataset.get(sequence) or ()))


NAMED: dict[str, Callable[[Dataset], Iterator[str]]] = {
    "RTSTRUCT": images_of,
    "RTPLAN": lambda plan: uids(plan, "ReferencedStructureSetSequence"),
    "RTDOSE": lambda dose: uids(dose, "ReferencedRTPlanSequence"),
}


def frame(dataset: Dataset) -> str:
    """Return the frame of reference of an instance; for a structure set that of its ROIs; "" if there are several or none."""
    own = text(dataset, "FrameOfReferenceUID")
    if text(dataset, "Modality") != "RTSTRUCT":
        return own
    of_rois = {text(each, "ReferencedFrameOfReferenceUID") for each in dataset.get("StructureSetROISequence") or ()} - {""}
    named = {text(each, "FrameOfReferenceUID") for each in dataset.get("ReferencedFrameOfReferenceSequence") or ()}
    frames = of_rois if len(of_rois) == 1 else {own, *named} - {""}
    return frames.pop() if len(frames) == 1 else ""


def differ(one: str, other: str) -> bool:
    """Return whether two frames of reference are known and differ."""
    return bool(one and other and one != other)


def numbers(dataset: Dataset, keyword: str, count: int) -> list[float]:
    """Return the numbers of an element; none if there are not exactly `count`."""
    value = dataset.get(keyword)
    values = value if count > 1 and value is not None else [value]
    try:
        found = [float(each) for each in values]
    except (TypeError, ValueError):
        return []
    return found if len(found) == count else []


def place(dataset: Dataset) -> tuple[tuple[float, ...], float] | None:
    """Return the orientation of a slice, and its position along the normal; None without a position."""
    at, axes = numbers(dataset, "ImagePositionPatient", 3), numbers(dataset, "ImageOrientationPatient", 6)
    if at and axes:
        (a, b, c), (d, e, f) = axes[:3], axes[3:]
        normal = (b * f - c * e, c * d - a * f, a * e - b * d)
        return tuple(round(each, 3) + 0.0 for each in axes), round(sum(map(float.__mul__, at, normal)), 3)
    location = numbers(dataset, "SliceLocation", 1)
    return ((), round(location[0], 3)) if location else None


def one_volume(datasets: list[Dataset]) -> set[Finding]:
    """Return what keeps series from being one volume each."""
    images = [each for each in datasets if text(each, "Modality") not in DERIVED]
    return {(uid, problem) for uid, series in by_series(images).items() for problem in _volume(series)}


def _volume(series: list[Dataset]) -> Iterator[str]:
    places = [found for found in map(place, series) if found]
    orientations, of_all = {orientation for orientation, _ in places}, f"of {len(series)} images"
    if len(orientations) > 1:
        yield f"{len(orientations)} orientations"
    if any(len({each.get(side) for each in series} - {None}) > 1 for side in ("Rows", "Columns")):
        yield "images of different sizes"
    spacings = [found for each in series if (found := numbers(each, "PixelSpacing", 2))]
    if any(max(column) - min(column) > 0.001 for column in zip(*spacings, strict=True)):
        yield "images of different pixel spacings"
    if localizers := sum("LOCALIZER" in str(each.get("ImageType")) for each in series):
        yield f"{localizers} {of_all} are localizers"
    if 0 < len(places) < len(series):
        yield f"{len(series) - len(places)} {of_all} have no position"
    if repeated := len(places) - len({*places}):
        yield f"{repeated} {of_all} repeat a position"
    positions = sorted({position for _, position in places})
    gaps = [after - before for before, after in pairwise(positions)]
    if len(orientations) == 1 and gaps and max(gaps) - min(gaps) > 0.1:
        times = [round(gap / min(gaps)) for gap in gaps]
        regular = min(gaps) > 0.2 and all(abs(gap - n * min(gaps)) <= 0.1 for gap, n in zip(gaps, times, strict=True))
        yield f"slices missing: {sum(times) - len(times)}" if regular else "distances between slices differ"


def unique_instance_numbers(datasets: list[Dataset]) -> set[Finding]:
    """Return the instance numbers that a series has more than once."""
    found = set[Finding]()
    for uid, series in by_series(datasets).items():
        times = Counter(int(number) for each in series if (number := each.get("InstanceNumber")) is not None)
        found |= {(uid, f"{n} instances have InstanceNumber {number}") for number, n in times.items() if n > 1}
    return found


def no_conflicts(files: Iterable[Path]) -> set[str]:
    """Return the SOPInstanceUIDs that files with different bytes have."""
    contents = defaultdict[str, set[bytes]](set)
    for file, dataset in zip(files, read(files), strict=True):
        contents[text(dataset, "SOPInstanceUID")].add(file.read_bytes())
    return {uid for uid, different in contents.items() if uid and len(different) > 1}


def no_contradictions(datasets: list[Dataset]) -> set[Finding]:
    """Return the series with several studies and the studies with several patients."""
    levels: list[tuple[str, str, str]] = [
        ("SeriesInstanceUID", "StudyInstanceUID", "the series is in two studies"),
        ("StudyInstanceUID", "PatientID", "the study has two patients"),
    ]
    found = set[Finding]()
    for key, above, problem in levels:
        of = defaultdict[str, set[str]](set)
        for dataset in datasets:
            of[text(dataset, key)].add(text(dataset, above))
        found |= {(uid, problem) for uid, several in of.items() if len(several) > 1}
    return found


OFTEN = re.compile(
    r"Secondary Capture|Ultrasound|Enhanced US Volume|VL (?:Endoscopic|Photographic)|Video (?:Endoscopic|Photographic)"
    "|Encapsulated (?:PDF|CDA)"
)


def no_burned_in(datasets: list[Dataset]) -> set[Finding]:
    """Return the instances that say that they have burned-in text, or whose SOP class often has it and that do not say so."""
    found = set[Finding]()
    for dataset in datasets:
        uid, said, sop_class = text(dataset, "SOPInstanceUID"), text(dataset, "BurnedInAnnotation"), dataset.get("SOPClassUID")
        if said not in ("", "NO"):
            found.add((uid, f"BurnedInAnnotation is {said}"))
        elif not said and OFTEN.search(str(getattr(sop_class, "name", ""))):
            found.add((uid, "the SOP class often has burned-in text, and BurnedInAnnotation is missing"))
    return found


def timepoints(demands: Iterable[tuple[str, ...]], datasets: list[Dataset], keywords: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Return the demands that no instance meets."""
    there = {tuple(text(dataset, keyword) for keyword in keywords) for dataset in datasets}
    return {demand for demand in demands if demand not in there}


def found(rows: list[dict[str, Any]], *keys: str) -> set[Finding]:
    """Return the rows of a builtin as findings: the first of the keys that has a value, and the problem without its details."""
    return {
        (
            next(str(row[key]) for key in keys if row[key] is not None),
            re.sub(r"(differ|in two studies|two patients): .*", r"\1", str(row["problem"])),
        )
        for row in rows
    }
