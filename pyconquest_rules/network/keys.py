"""The keys of Query/Retrieve (PS3.4 C.6), level by level. This module imports no DICOM library."""

import re
from datetime import date

from pyconquest_rules.dicom import Level, dictionary, tags
from pyconquest_rules.errors import Mistake, did_you_mean

UNIQUE = {
    Level.PATIENT: ["PatientID"],
    Level.STUDY: ["PatientID", "StudyInstanceUID"],
    Level.SERIES: ["StudyInstanceUID", "SeriesInstanceUID"],
    Level.IMAGE: ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"],
}
"""The unique keys of a level and of the levels above; Study Root has PatientID at the level study."""

PATIENT_ROOT, STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.1", "1.2.840.10008.5.1.4.1.2.2"
FIND, MOVE, GET = 1, 2, 3
"""The last component of the SOP classes of a root (PS3.4 C.6)."""

PATIENT = """
PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs OtherPatientNames EthnicGroup
PatientComments NumberOfPatientRelatedStudies NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances"""
OF_PATIENT = frozenset(PATIENT.split())
"""Keys of the level patient (PS3.4 C.6.1.1.2)."""

STUDY = """
StudyInstanceUID StudyDate StudyTime AccessionNumber StudyID ReferringPhysicianName StudyDescription ModalitiesInStudy
SOPClassesInStudy NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription PatientAge PatientSize PatientWeight Occupation
AdditionalPatientHistory NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances"""
OF_STUDY = OF_PATIENT | frozenset(STUDY.split())
"""Keys of the level study, which in Study Root include those of the patient (PS3.4 C.6.1.1.2, C.6.1.1.3, C.6.2.1.2)."""

SERIES = """
SeriesInstanceUID Modality SeriesNumber SeriesDescription SeriesDate SeriesTime BodyPartExamined ProtocolName Laterality
PerformingPhysicianName OperatorsName Manufacturer ManufacturerModelName StationName InstitutionName FrameOfReferenceUID
PerformedProcedureStepStartDate PerformedProcedureStepStartTime PerformedProcedureStepID NumberOfSeriesRelatedInstances"""
OF_SERIES = frozenset(SERIES.split())
"""Keys of the level series (PS3.4 C.6.1.1.4), and other attributes that all instances of a series share."""

KNOWN = {Level.PATIENT: OF_PATIENT, Level.STUDY: OF_STUDY, Level.SERIES: OF_STUDY | OF_SERIES}
"""The keys of each level. At the level image, every text attribute is a key."""

NOT_TEXT = {"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN", "AT"}


def sop_class(level: Level, operation: int) -> str:
    """Return the SOP class of an operation: of Patient Root at the level patient, else of Study Root."""
    return f"{PATIENT_ROOT if level is Level.PATIENT else STUDY_ROOT}.{operation}"


def is_above(keyword: str, level: Level) -> bool:
    """Return whether a key belongs to a level above `level`."""
    return level in (Level.SERIES, Level.IMAGE) and (keyword in OF_STUDY or (level is Level.IMAGE and keyword in OF_SERIES))


def known_key(keyword: str) -> int:
    """Return the tag of a key. Raises Mistake for an attribute that no query can have."""
    tag = tags().get(keyword)
    if tag is None:
        raise Mistake(f'unknown DICOM keyword "{keyword}"', fragment=keyword, hint=did_you_mean(keyword, tags()))
    if keyword in ("QueryRetrieveLevel", "SpecificCharacterSet"):
        raise Mistake(f"{keyword} is not a key: the query sets it", fragment=keyword)
    if (VR := dictionary()[tag].VR[:2]) in NOT_TEXT:
        raise Mistake(f"{keyword} cannot be queried: it is not text ({VR})", fragment=keyword)
    return tag


def check_key(keyword: str, level: Level) -> None:
    """Raise Mistake if a keyword is not a key at a level, as one of a level below."""
    known_key(keyword)
    if level in KNOWN and keyword not in KNOWN[level]:
        lower = next((below for below, known in KNOWN.items() if keyword in known), Level.IMAGE)
        message = f"{keyword} cannot be queried at the level {level}"
        raise Mistake(message, fragment=keyword, hint=f'use level = "{lower}"')


def is_date(keyword: str) -> bool:
    """Return whether a known key is a date (VR DA)."""
    return dictionary()[tags()[keyword]].VR == "DA"


def check_value(keyword: str, text: str) -> None:
    """Raise Mistake for an invalid date, which would silently match nothing.

    A date is YYYYMMDD (PS3.5 6.2). A range has a hyphen and may be open (PS3.4 C.2.2.2.5). Wild cards and lists of dates are not
    in the Standard, but nodes accept them.
    """
    if not is_date(keyword):
        return
    for part in text.split("\\"):
        ends = part.split("-")
        wild = WILD_DATE.fullmatch(part) is not None
        if part and not wild and not (1 <= len(ends) <= 2 and any(ends) and all(not end or _is_day(end) for end in ends)):
            raise Mistake(f"{keyword} is not a valid DICOM date", fragment=part, hint=DATES)
        if len(ends) == 2 and all(ends) and not wild and ends[0] > ends[1]:
            raise Mistake(f"the range of {keyword} ends before it begins", fragment=part, hint="put the earlier date first")


def _is_day(text: str) -> bool:
    try:
        return DAY.fullmatch(text) is not None and bool(date(int(text[:4]), int(text[4:6]), int(text[6:])))
    except ValueError:
        return False


DAY, WILD_DATE = re.compile("[0-9]{8}"), re.compile(r"(?=.*[*?])[0-9*?]{1,8}")
DATES = 'dates are "20240131", ranges "20240101-20240131" or "20240101-"'
