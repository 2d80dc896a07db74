"""Identifiers of Query/Retrieve (PS3.4 C.4.1.1.3): keys as text, to be asked for and as they come back."""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, PN_DELIMS, TEXT_VR_DELIMS
from pynetdicom.dsutils import encode

from pyconquest_rules.dicom import Level, dictionary, tags
from pyconquest_rules.errors import Mistake, did_you_mean

UNIQUE = {
    Level.PATIENT: ["PatientID"],
    Level.STUDY: ["PatientID", "StudyInstanceUID"],
    Level.SERIES: ["StudyInstanceUID", "SeriesInstanceUID"],
    Level.IMAGE: ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"],
}
"""The unique keys of a level and of those above it; Study Root has PatientID at the level study."""

PATIENT_AND_STUDY = """
PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs OtherPatientNames EthnicGroup
PatientComments NumberOfPatientRelatedStudies NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances StudyInstanceUID
StudyDate StudyTime AccessionNumber StudyID ReferringPhysicianName StudyDescription ModalitiesInStudy SOPClassesInStudy
NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription PatientAge PatientSize PatientWeight Occupation
AdditionalPatientHistory NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances"""
OF_STUDY = frozenset(PATIENT_AND_STUDY.split())
"""Keys of the level study, where Study Root has those of the patient too (PS3.4 C.6.1.1.2, C.6.1.1.3, C.6.2.1.2)."""

SERIES = """
SeriesInstanceUID Modality SeriesNumber SeriesDescription SeriesDate SeriesTime BodyPartExamined ProtocolName Laterality
PerformingPhysicianName OperatorsName Manufacturer ManufacturerModelName StationName InstitutionName FrameOfReferenceUID
PerformedProcedureStepStartDate PerformedProcedureStepStartTime PerformedProcedureStepID NumberOfSeriesRelatedInstances"""
OF_SERIES = frozenset(SERIES.split())
"""Keys of the level series (PS3.4 C.6.1.1.4), and what else all instances of a series share."""

NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
NOT_TEXT = {"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN", "AT"}


def is_above(keyword: str, level: Level) -> bool:
    """Whether a key is one of a level above this."""
    return level in (Level.SERIES, Level.IMAGE) and (keyword in OF_STUDY or (level is Level.IMAGE and keyword in OF_SERIES))


def query(level: Level, keys: Mapping[str, str]) -> Dataset:
    """An identifier (PS3.4 C.4.1.1.3). Raises Mistake for keys that cannot be asked for."""
    identifier = Dataset()
    for keyword, value in keys.items():
        tag = tags().get(keyword)
        if tag is None:
            raise Mistake(f'unknown DICOM keyword "{keyword}"', fragment=keyword, hint=did_you_mean(keyword, tags()))
        if keyword in ("QueryRetrieveLevel", "SpecificCharacterSet"):
            raise Mistake(f"{keyword} is no key: it is set by the query itself", fragment=keyword)
        identifier.add(_element(keyword, tag, value))
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = level.upper()
    if encode(identifier, is_implicit_vr=True, is_little_endian=True) is None:
        raise Mistake("the query has a value that its VR cannot have")
    return identifier


def _element(keyword: str, tag: int, text: str) -> DataElement:
    VR = dictionary()[tag].VR[:2]
    if VR in NOT_TEXT:
        raise Mistake(f"{keyword} cannot be asked for: it is no text ({VR})", fragment=keyword)
    value: Any = text
    if VR in NUMBERS:
        try:
            value = [float(part) if VR in ("FL", "FD") else int(part) for part in text.split("\\") if part]
        except ValueError:
            raise Mistake(f"{keyword} is a number", fragment=keyword) from None
    try:  # as text, because a wild card or a range is no value of its VR
        return DataElement(tag, VR, value, validation_mode=IGNORE)
    except (ValueError, TypeError):
        raise Mistake(f"{keyword} has no value that its VR ({VR}) can have", fragment=keyword) from None


def texts(identifier: Dataset, keywords: Iterable[str]) -> dict[str, str]:
    """The values of an answer, "" where there is none."""
    encodings = convert_encodings(identifier.get("SpecificCharacterSet") or "ISO_IR 6")
    return {keyword: _text(identifier, keyword, encodings) for keyword in keywords}


def _text(identifier: Dataset, keyword: str, encodings: list[str]) -> str:
    """A value from its bytes: pydicom's own elements warn with the value, and fail for one that its VR forbids."""
    element = identifier.get_item(tags()[keyword])
    VR = dictionary()[tags()[keyword]].VR[:2]
    if not isinstance(element, RawDataElement) or not element.value:
        return ""
    data = element.value
    if VR in NUMBERS:
        number = struct.Struct(f"<{NUMBERS[VR]}")
        return "\\".join(str(value) for (value,) in number.iter_unpack(data[: len(data) // number.size * number.size]))
    if VR in CUSTOMIZABLE_CHARSET_VR:
        return decode_bytes(data, encodings, PN_DELIMS if VR == "PN" else TEXT_VR_DELIMS).strip(" \0")
    return data.decode("ascii", "replace").strip(" \0")
