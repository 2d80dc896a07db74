"""What a set expanded along references has to be, by pydicom alone, and files that reference each other in every way.

`Reading` walks whole data sets. It shares no code and no list of sequences with the index.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.tag import Tag
from pydicom.uid import UID, generate_uid

from tests.headers.nested import item

IMAGES = ("CT", "MR", "PT", "CR", "DX", "SM", "OT")
"""Modalities of images. An image names series, but no instances: its localizers and sources are no part of a chain."""

OTHERS = ("ReferencedStudySequence", "ReferencedPerformedProcedureStepSequence", "IdenticalDocumentsSequence")
"""Sequences that name something other than series and instances, or copies of the document itself."""


def named(dataset: Dataset, *, series_only: bool = False, inside: str = "") -> Iterator[str]:
    """Yield the UIDs of series and instances that a data set names, at any depth."""
    for element in dataset:
        if inside and element.value and element.keyword == "SeriesInstanceUID":
            yield str(element.value)
        # In RTReferencedStudySequence, it is the UID of a study.
        of_instance = element.keyword == "ReferencedSOPInstanceUID" and inside != "RTReferencedStudySequence"
        if of_instance and element.value and not series_only:
            yield str(element.value)
        if element.VR == "SQ" and not element.tag.is_private and element.keyword not in OTHERS:
            for inner in element.value:
                yield from named(inner, series_only=series_only, inside=element.keyword)


@cache
def _read(file: Path) -> tuple[str, str, str, frozenset[str]]:
    """Return the modality, series and instance UID of a file, and what it names."""
    dataset = dcmread(file, stop_before_pixels=True)
    names = named(dataset, series_only=dataset.Modality in IMAGES)
    return dataset.Modality, str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID), frozenset(names)


class Reading:
    """The series and instances of some files, and what they name."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.modality = dict[str, str]()
        self.names = dict[str, set[str]]()
        self.instances = dict[str, set[str]]()
        for modality, series, instance, names in map(_read, files):
            self.modality[series] = modality
            self.names.setdefault(series, set()).update(names)
            self.instances.setdefault(series, set()).add(instance)
        self.series_of = {uid: series for series, uids in self.instances.items() for uid in (series, *uids)}

    def of(self, modality: str) -> set[str]:
        """Return the series of a modality."""
        return {series for series, own in self.modality.items() if own == modality}

    def expanded(self, start: Iterable[str], modalities: Iterable[str]) -> set[str]:
        """Return the series `start` and those of the modalities that reference them or are referenced, directly or not."""
        pairs = {(a, self.series_of[uid]) for a, uids in self.names.items() for uid in uids if uid in self.series_of}
        pairs |= {(b, a) for a, b in pairs}
        found = {*start}
        while more := {b for a, b in pairs if a in found and self.modality[b] in modalities} - found:
            found |= more
        return found

    def missing(self, series: Iterable[str]) -> set[tuple[str, str]]:
        """Return each of the series with each UID that it names and that no file has."""
        return {(each, uid) for each in series for uid in self.names[each] if uid not in self.series_of}


def write_chain(folder: Path, corpus: Path) -> None:
    """Write real files into a folder, and objects derived from them, which reference them in every way."""
    chain = corpus / "dicompyler-core-rtchain" / "example_data"
    ct = _kept(folder / "ct.dcm", chain / "ct.0.dcm")
    second = _derived(folder / "ct2.dcm", ct, SeriesInstanceUID=ct.SeriesInstanceUID)
    pt = _kept(folder / "pt.dcm", corpus / "suyashkumar-dicom" / "testdata" / "1.dcm")
    other_pt = _kept(folder / "pt2.dcm", corpus / "suyashkumar-dicom" / "testdata" / "2.dcm")
    rigid, deformed = _write_registrations(folder, ct, second, pt, other_pt)
    _derived(
        folder / "blending.dcm",
        _header(ct, "PR", "1.2.840.10008.5.1.4.1.1.11.4"),
        BlendingSequence=[_study(each, "ReferencedImageSequence") for each in (second, pt)],
        ReferencedSpatialRegistrationSequence=[_study(rigid, "ReferencedSOPSequence")],
    )
    dose = _kept(folder / "rtdose.dcm", chain / "rtdose.dcm")
    _derived(folder / "dose2.dcm", dose, ReferencedSpatialRegistrationSequence=[_to(deformed)])
    structures = _kept(folder / "rtss.dcm", chain / "rtss.dcm")
    plan = _kept(folder / "rtplan.dcm", chain / "rtplan.dcm")
    rt_image = corpus / "pynetdicom" / "pynetdicom" / "tests" / "dicom_files" / "RTImageStorage.dcm"
    _write_treatment(folder, second, structures, plan, dcmread(rt_image, stop_before_pixels=True))
    _write_documents(folder, corpus, ct, second)


def _write_registrations(folder: Path, ct: Dataset, second: Dataset, pt: Dataset, other_pt: Dataset) -> tuple[Dataset, Dataset]:
    """Write a registration of two series that it names, and one that names only images."""
    rigid = _derived(
        folder / "reg.dcm",
        _header(ct, "REG", "1.2.840.10008.5.1.4.1.1.66.1"),
        ReferencedSeriesSequence=[_series(ct, "ReferencedInstanceSequence", second)],
        StudiesContainingOtherReferencedInstancesSequence=[_study(pt, "ReferencedInstanceSequence")],
        RegistrationSequence=[
            item(FrameOfReferenceUID=each.FrameOfReferenceUID, ReferencedImageSequence=[_to(each)]) for each in (ct, pt)
        ],
    )
    deformed = _derived(
        folder / "deformed.dcm",
        _header(ct, "REG", "1.2.840.10008.5.1.4.1.1.66.3"),
        DeformableRegistrationSequence=[
            item(SourceFrameOfReferenceUID=each.FrameOfReferenceUID, ReferencedImageSequence=[_to(each)])
            for each in (ct, other_pt)
        ],
    )
    return rigid, deformed


def _write_treatment(folder: Path, ct: Dataset, structures: Dataset, plan: Dataset, image: Dataset) -> None:
    """Write an image and a record of a plan, and a second plan, made from the first one."""
    image = _derived(folder / "rtimage.dcm", image, ReferencedRTPlanSequence=[_to(plan)])
    _derived(
        folder / "record.dcm",
        _header(plan, "RTRECORD", "1.2.840.10008.5.1.4.1.1.481.4"),
        ReferencedRTPlanSequence=[_to(plan)],
        ReferencedStructureSetSequence=[_to(structures)],
    )
    _derived(
        folder / "plan2.dcm",
        plan,
        ReferencedStructureSetSequence=[_to(structures)],
        ReferencedRTPlanSequence=[_to(plan)],
        PatientSetupSequence=[item(ReferencedSetupImageSequence=[_to(image)])],
        BeamSequence=[item(ReferencedReferenceImageSequence=[_to(ct)])],
    )


def _write_documents(folder: Path, corpus: Path, ct: Dataset, second: Dataset) -> None:
    """Write a segmentation, reports, a presentation state, and a selection of key objects."""
    rwv = _kept(folder / "rwv.dcm", corpus / "dcmqi" / "data" / "sr-example" / "rwvm.dcm")
    report = _kept(folder / "sr.dcm", corpus / "dcmqi" / "data" / "sr-example" / "sr.dcm")
    segments = _derived(
        folder / "seg.dcm",
        dcmread(corpus / "highdicom" / "seg_image_ct_binary.dcm", stop_before_pixels=True),
        ReferencedSeriesSequence=[_series(ct, "ReferencedInstanceSequence")],
        SourceImageSequence=[_to(second)],
    )
    _derived(folder / "old_sr.dcm", dcmread(corpus / "pydicom" / "test-SR.dcm"), ContentSequence=[_content(segments, 3)])
    state = _derived(
        folder / "state.dcm",
        _header(ct, "PR", "1.2.840.10008.5.1.4.1.1.11.1"),
        ReferencedSeriesSequence=[_series(ct, "ReferencedImageSequence")],
    )
    _derived(
        folder / "ko.dcm",
        _header(ct, "KO", "1.2.840.10008.5.1.4.1.1.88.59"),
        CurrentRequestedProcedureEvidenceSequence=[_study(each, "ReferencedSOPSequence") for each in (ct, state)],
        PertinentOtherEvidenceSequence=[_study(each, "ReferencedSOPSequence") for each in (report, rwv)],
        ContentSequence=[_content(state, 1)],
    )


def _kept(file: Path, source: Path) -> Dataset:
    """Write a real file without its pixels."""
    dataset = dcmread(source, stop_before_pixels=True)
    dataset.save_as(file)
    return dataset


def _derived(file: Path, source: Dataset, **elements: object) -> Dataset:
    """Write a copy of a data set as another instance, by default of another series, with other elements."""
    dataset = deepcopy(source)
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(file)
    return dataset


def _header(source: Dataset, modality: str, sop_class: str) -> Dataset:
    """Return the patient and study of a data set, for an object of another modality."""
    dataset = deepcopy(source)
    for tag in {*dataset.keys()} - {*map(Tag, ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate"))}:
        del dataset[tag]
    dataset.Modality, dataset.SOPClassUID = modality, UID(sop_class)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return dataset


def _to(dataset: Dataset) -> Dataset:
    return item(ReferencedSOPClassUID=dataset.SOPClassUID, ReferencedSOPInstanceUID=dataset.SOPInstanceUID)


def _series(dataset: Dataset, keyword: str, *others: Dataset) -> Dataset:
    return item(SeriesInstanceUID=dataset.SeriesInstanceUID, **{keyword: [_to(dataset), *map(_to, others)]})


def _study(dataset: Dataset, keyword: str) -> Dataset:
    return item(StudyInstanceUID=dataset.StudyInstanceUID, ReferencedSeriesSequence=[_series(dataset, keyword)])


def _content(dataset: Dataset, depth: int) -> Dataset:
    """Return an item of a content tree that references an instance so deep in it."""
    if depth > 1:
        return item(RelationshipType="CONTAINS", ValueType="CONTAINER", ContentSequence=[_content(dataset, depth - 1)])
    return item(RelationshipType="CONTAINS", ValueType="COMPOSITE", ReferencedSOPSequence=[_to(dataset)])
