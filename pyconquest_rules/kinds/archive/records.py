"""The records of a DICOMDIR: which an instance has, their keys, and their bytes (PS3.3 F.3 to F.5)."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from struct import error, pack
from typing import NamedTuple

from pyconquest_rules.content import NotTransformed
from pyconquest_rules.dicom import dictionary, tag_path, tags
from pyconquest_rules.headers.header import Header, Wanted

ROOT = "1.2.840.10008.5.1.4.1.1."

# The type of the record for the storage SOP classes below ROOT. The longest beginning counts; any other class is an image.
TYPES = {
    "4.2": "SPECTROSCOPY",
    "9": "WAVEFORM",
    "11": "PRESENTATION",
    "66": "RAW DATA",
    "66.1": "REGISTRATION",
    "66.2": "FIDUCIAL",
    "66.3": "REGISTRATION",
    "66.4": "IMAGE",
    "66.5": "SURFACE",
    "66.6": "TRACT",
    "66.7": "IMAGE",
    "66.8": "IMAGE",
    "67": "VALUE MAP",
    "68": "SURFACE SCAN",
    "77.1.5.3": "STEREOMETRIC",
    "78": "MEASUREMENT",
    "78.6": "SR DOCUMENT",
    "79.1": "SR DOCUMENT",
    "80.1": "MEASUREMENT",
    "88": "SR DOCUMENT",
    "88.59": "KEY OBJECT DOC",
    "90.1": "ASSESSMENT",
    "104": "ENCAP DOC",
    "131": "PRESENTATION",
    "200": "",
    "201": "",
    "481": "RADIOTHERAPY",
    "481.1": "IMAGE",
    "481.2": "RT DOSE",
    "481.3": "RT STRUCTURE SET",
    "481.4": "RT TREAT RECORD",
    "481.5": "RT PLAN",
    "481.6": "RT TREAT RECORD",
    "481.7": "RT TREAT RECORD",
    "481.8": "RT PLAN",
    "481.9": "RT TREAT RECORD",
}

CONTENT = "InstanceNumber ContentDate ContentTime"
IDENTIFIED = f"{CONTENT} ContentLabel ContentDescription ContentCreatorName"
CONCEPT = "ConceptNameCodeSequence"
CODE = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")

# The keys that the Standard requires of each type of record.
KEYS = {
    "PATIENT": "PatientName PatientID",
    "STUDY": "StudyDate StudyTime AccessionNumber StudyDescription StudyInstanceUID StudyID",
    "SERIES": "Modality SeriesInstanceUID SeriesNumber",
    "IMAGE": "InstanceNumber",
    "ASSESSMENT": "InstanceNumber InstanceCreationDate InstanceCreationTime",
    "ENCAP DOC": f"{CONTENT} DocumentTitle MIMETypeOfEncapsulatedDocument {CONCEPT}",
    "FIDUCIAL": IDENTIFIED,
    "KEY OBJECT DOC": f"{CONTENT} {CONCEPT}",
    "MEASUREMENT": IDENTIFIED,
    "PRESENTATION": "InstanceNumber ContentLabel ContentDescription ContentCreatorName"
    " PresentationCreationDate PresentationCreationTime",
    "RADIOTHERAPY": "InstanceNumber ContentDescription ContentCreatorName",
    "RAW DATA": CONTENT,
    "REGISTRATION": IDENTIFIED,
    "RT DOSE": "InstanceNumber DoseSummationType",
    "RT PLAN": "InstanceNumber RTPlanLabel RTPlanDate RTPlanTime",
    "RT STRUCTURE SET": "InstanceNumber StructureSetLabel StructureSetDate StructureSetTime",
    "RT TREAT RECORD": "InstanceNumber TreatmentDate TreatmentTime",
    "SPECTROSCOPY": f"{CONTENT} ImageType NumberOfFrames Rows Columns DataPointRows DataPointColumns",
    "SR DOCUMENT": f"{CONTENT} CompletionFlag VerificationFlag VerificationDateTime {CONCEPT}",
    "STEREOMETRIC": "",
    "SURFACE": IDENTIFIED,
    "SURFACE SCAN": "ContentDate ContentTime",
    "TRACT": IDENTIFIED,
    "VALUE MAP": IDENTIFIED,
    "WAVEFORM": CONTENT,
}
# Keys that a record has only if the instance has them.
IF_PRESENT = frozenset({"VerificationDateTime", "CodingSchemeVersion"})

NUMBERS: Mapping[str, str] = {"US": "<H", "UL": "<L"}
LONG_LENGTH = frozenset({"SQ"})
LONGEST = 0xFFFE

# The bytes of a record before its keys: the two offsets, whether it is in use, and its type. An offset of 0 means none.
NEXT_AT, LOWER_AT = 16, 38
"""The positions of the offsets of the next record and of the first one below, in a record."""


class Records(NamedTuple):
    """The records of an instance, of its patient, study, series and itself, and what they are grouped by."""

    patient: str
    study: str
    series: str
    levels: tuple[bytes, ...]


@cache
def wanted() -> Wanted:
    """Return the elements to read of an instance."""
    keywords = sorted({"SOPClassUID"}.union(*(keys.split() for keys in KEYS.values())) - {CONCEPT})
    paths = (*keywords, *(f"{CONCEPT}[0].{keyword}" for keyword in CODE))
    return Wanted(tuple(tag_path(path) for path in paths))


def records(header: Header, file_id: str) -> Records:
    """Return the records of the instance that has this file ID. Raises NotTransformed if a DICOMDIR cannot have it."""
    texts = dict(zip(map(str, wanted().paths), header.values, strict=True))

    def text(path: str) -> str:
        found = texts[str(tag_path(path))]
        return found if isinstance(found, str) else ""

    sop_class, syntax = text("SOPClassUID"), header.TransferSyntaxUID
    kind = _type(sop_class)
    if not kind:
        raise NotTransformed("no directory record is defined for its SOP class")
    if syntax is None:
        raise NotTransformed("it has no transfer syntax in its File Meta Information, which a DICOMDIR must name")
    referenced = (
        ("ReferencedFileID", file_id.replace("/", "\\")),
        ("ReferencedSOPClassUIDInFile", sop_class),
        ("ReferencedSOPInstanceUIDInFile", header.SOPInstanceUID),
        ("ReferencedTransferSyntaxUIDInFile", syntax),
    )
    study = text("StudyInstanceUID")
    above = tuple(_record(name, (), text) for name in ("PATIENT", "STUDY", "SERIES"))
    records = (*above, _record(kind, referenced, text))
    return Records(text("PatientID") or f"\0{study}", study, text("SeriesInstanceUID"), records)


def _type(sop_class: str) -> str:
    """Return the type of the record of a SOP class; "" if there is none."""
    if not sop_class.startswith(ROOT):
        return ""
    numbers = sop_class.removeprefix(ROOT).split(".")
    beginnings = (".".join(numbers[:length]) for length in range(len(numbers), 0, -1))
    return next((TYPES[beginning] for beginning in beginnings if beginning in TYPES), "IMAGE")


def _record(kind: str, referenced: Iterable[tuple[str, str]], text: Callable[[str], str]) -> bytes:
    """Return the bytes of a record, an item of a sequence, with zero for both offsets."""
    head = (("OffsetOfTheNextDirectoryRecord", "0"), ("RecordInUseFlag", "65535"))
    lower = (("OffsetOfReferencedLowerLevelDirectoryEntity", "0"), ("DirectoryRecordType", kind))
    values = dict((*head, *lower, *referenced))
    keys = KEYS[kind].split()
    values |= {key: text(key) for key in keys if key != CONCEPT and (key not in IF_PRESENT or text(key))}
    title = {key: text(f"{CONCEPT}[0].{key}") for key in CODE} if CONCEPT in keys else {}
    if not all(value.isascii() for value in (*values.values(), *title.values())):
        values["SpecificCharacterSet"] = "ISO_IR 192"
    elements = {tags()[key]: element(key, value) for key, value in values.items()}
    if CONCEPT in keys:
        elements[tags()[CONCEPT]] = _concept(title)
    return item(b"".join(elements[tag] for tag in sorted(elements)))


def _concept(title: Mapping[str, str]) -> bytes:
    """Return the sequence with the title of a document; without an item if it has none."""
    kept = {key: value for key, value in title.items() if value or key not in IF_PRESENT}
    of_item = item(b"".join(element(key, value) for key, value in kept.items())) if any(title.values()) else b""
    return header_of(CONCEPT, len(of_item)) + of_item


def element(keyword: str, value: str) -> bytes:
    """Return an element in Explicit VR Little Endian (PS3.5 7.1.2). Raises NotTransformed if the value is too long."""
    vr = dictionary()[tags()[keyword]].VR
    if vr in NUMBERS:
        try:
            data = b"".join(pack(NUMBERS[vr], int(number)) for number in value.split("\\") if number)
        except (ValueError, error):
            data = b""
    else:
        data = value.encode()
        data += (b"\0" if vr == "UI" else b" ") * (len(data) % 2)
    if len(data) > LONGEST:
        raise NotTransformed("a value is too long for a directory record")
    return header_of(keyword, len(data)) + data


def header_of(keyword: str, length: int) -> bytes:
    """Return the tag, VR and length of an element."""
    tag = tags()[keyword]
    vr = dictionary()[tag].VR
    form = "<HH2sxxL" if vr in LONG_LENGTH else "<HH2sH"
    return pack(form, tag >> 16, tag & 0xFFFF, vr.encode(), length)


def item(data: bytes) -> bytes:
    """Return an item of a sequence."""
    return pack("<HHL", 0xFFFE, 0xE000, len(data)) + data
