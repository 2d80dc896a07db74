"""The Query/Retrieve service class as its user (PS3.4 C): what a node has, and bringing it here."""

import logging
import re
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, PN_DELIMS, TEXT_VR_DELIMS
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.status import QR_FIND_SERVICE_CLASS_STATUS

from pyconquest_rules.dicom import Level, dictionary, tags
from pyconquest_rules.errors import Mistake, did_you_mean
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.tls import ssl_context

# pynetdicom logs identifiers, that is values of patients, and reads them for that whatever the level of its logger is.
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

MESSAGE_ID = 1
SUCCESS, OUT_OF_RESOURCES, PENDING = 0x0000, range(0xA700, 0xA800), (0xFF00, 0xFF01)

UNCOMPRESSED: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]

NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
NOT_TEXT = {"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN", "AT"}

ONE_UID = re.compile(r"[0-9.]+")

UNIQUE = {
    Level.PATIENT: ["PatientID"],
    Level.STUDY: ["PatientID", "StudyInstanceUID"],
    Level.SERIES: ["StudyInstanceUID", "SeriesInstanceUID"],
    Level.IMAGE: ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"],
}
ABOVE = {Level.SERIES: Level.STUDY, Level.IMAGE: Level.SERIES}

PATIENT_ROOT, STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.1", "1.2.840.10008.5.1.4.1.2.2"
FIND, MOVE, GET = 1, 2, 3
"""The SOP classes are those of a root with one of these at the end (PS3.4 C.6)."""

PATIENT_AND_STUDY = """
PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs OtherPatientNames EthnicGroup
PatientComments NumberOfPatientRelatedStudies NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances StudyInstanceUID
StudyDate
StudyTime AccessionNumber StudyID ReferringPhysicianName StudyDescription ModalitiesInStudy SOPClassesInStudy
NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription PatientAge PatientSize PatientWeight Occupation
AdditionalPatientHistory
NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances"""
OF_STUDY = frozenset(PATIENT_AND_STUDY.split())
"""Keys of the level study, where Study Root has those of the patient too (PS3.4 C.6.1.1.2, C.6.1.1.3, C.6.2.1.2)."""

SERIES = """
SeriesInstanceUID Modality SeriesNumber SeriesDescription SeriesDate SeriesTime BodyPartExamined ProtocolName Laterality
PerformingPhysicianName OperatorsName Manufacturer ManufacturerModelName StationName InstitutionName FrameOfReferenceUID
PerformedProcedureStepStartDate PerformedProcedureStepStartTime PerformedProcedureStepID NumberOfSeriesRelatedInstances"""
OF_SERIES = frozenset(SERIES.split())
"""Keys of the level series (PS3.4 C.6.1.1.4), and what else all instances of a series share."""


@contextmanager
def associated(node: Node, contexts: Sequence[PresentationContext], **arguments: Any) -> Iterator[Association]:
    """An association with a node, released at the end, aborted where an error ends it. `arguments` are those of AE.associate.

    Raises NodeError where the node cannot be reached, rejects the association or refuses all contexts.
    """
    ae = AE(ae_title=node.calling_ae_title)
    ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout = node.connect_timeout, node.acse_timeout, node.dimse_timeout
    ae.network_timeout = None
    if node.tls is not None:
        try:
            arguments["tls_args"] = (ssl_context(node.tls), node.tls.host_name or node.host)
        except OSError as error:
            raise NodeError(node, f"the files of its TLS cannot be used: {error.strerror or error}", retry=False) from None
    try:
        association = ae.associate(
            node.host, node.port, list(contexts), ae_title=node.ae_title, max_pdu=node.max_pdu, **arguments
        )
    except OSError as error:
        raise NodeError(node, f"cannot be reached: {error.strerror or error}") from None
    if not association.is_established:
        raise _not_established(node, association)
    try:
        _without_delay(association)
        yield association
    except BaseException:
        association.abort()
        raise
    association.release()


def _without_delay(association: Association) -> None:
    """A command and its data set are two writes: without this the second waits for the peer's delayed acknowledgment."""
    connection = association.dul.socket and association.dul.socket.socket
    if connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _not_established(node: Node, association: Association) -> NodeError:
    """Why there is no association."""
    if association.is_rejected:
        answer: Any = association.acceptor.primitive
        return NodeError(node, f"rejects the association: {answer.reason_str}", retry=answer.result == 2)
    if association.rejected_contexts:
        return NodeError(node, "refuses every presentation context that was proposed", retry=False)
    if association.is_aborted and association.acceptor.primitive is None:
        what = "cannot be reached, or TLS with it fails" if node.tls else "cannot be reached"
        return NodeError(node, what)
    return NodeError(node, "broke off while the association was negotiated")


def find(node: Node, level: Level, match: Mapping[str, str], return_keys: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """What a node has at a level, by C-FIND (PS3.4 C.4.1): for each the values of the keys that were asked for, as text.

    `match` has DICOM keywords with what they must be: a value, a wild card, a range, a list of UIDs joined by a backslash
    (PS3.4 C.2.2.2). The unique keys of the level and of the levels above are always returned, then those of `match`, then
    `return_keys`. Several values of one element are joined by a backslash; "" is where the node gave none.

    Study Root is asked, Patient Root at the level patient, and level by level (PS3.4 C.4.1.2.1), which is all that a node must
    support: where `match` does not name one study (and one series), these are found first. Closing the iterator early cancels.
    Raises Mistake before anything is sent; NodeError where the association is lost and for any status but success.
    """
    wanted = list(dict.fromkeys([*UNIQUE[level], *match, *return_keys]))
    query = _query(level, {keyword: match.get(keyword, "") for keyword in wanted})
    return _found(node, level, {element.keyword: match.get(element.keyword, "") for element in query}, wanted)


def _found(node: Node, level: Level, match: Mapping[str, str], wanted: Sequence[str]) -> Iterator[dict[str, str]]:
    with associated(node, [build_context(_model(level, FIND), UNCOMPRESSED)]) as association:
        for found in _by_level(node, association, level, {keyword: match[keyword] for keyword in wanted}):
            yield {keyword: found[keyword] for keyword in wanted}


def _by_level(node: Node, association: Association, level: Level, keys: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Matches with the values of the levels above. `keys`: what is asked for, "" where any value will do."""
    above = ABOVE.get(level)
    higher = {keyword: value for keyword, value in keys.items() if above and _is_above(keyword, level)}
    own = {keyword: value for keyword, value in keys.items() if keyword not in higher}
    if above is None:
        yield from _answers(node, association, level, own)
        return
    uids = [keyword for keyword in UNIQUE[above] if keyword != "PatientID"]
    if set(higher) == set(uids) and all(ONE_UID.fullmatch(higher[keyword]) for keyword in uids):
        entities = [higher]
    else:  # as a list, because an association takes one operation at a time
        entities = list(_by_level(node, association, above, higher))
    for entity in entities:
        for found in _answers(node, association, level, {keyword: entity[keyword] for keyword in uids} | own):
            yield entity | found


def _model(level: Level, operation: int) -> UID:
    return UID(f"{PATIENT_ROOT if level is Level.PATIENT else STUDY_ROOT}.{operation}")


def _is_above(keyword: str, level: Level) -> bool:
    return keyword in OF_STUDY or (level is Level.IMAGE and keyword in OF_SERIES)


def _answers(node: Node, association: Association, level: Level, keys: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The matches of one C-FIND."""
    model = _model(level, FIND)
    responses = association.send_c_find(_query(level, keys), model, msg_id=MESSAGE_ID)
    try:
        for response, identifier in responses:
            status = _status(node, response)
            if status == SUCCESS:
                return
            if status not in PENDING:
                raise _refusal(node, "C-FIND", status, QR_FIND_SERVICE_CLASS_STATUS)
            if identifier is None:
                raise NodeError(node, "answers C-FIND with what cannot be read", retry=False)
            found = _texts(identifier, keys)
            if not all(found[keyword] for keyword in UNIQUE[level] if keyword in keys and keyword != "PatientID"):
                raise NodeError(node, f"answers C-FIND without {' and '.join(UNIQUE[level])}", retry=False)
            yield found
    except GeneratorExit:
        _cancel(node, association, model, responses)
        raise


def _cancel(node: Node, association: Association, model: UID, responses: Iterator[tuple[Dataset, Dataset | None]]) -> None:
    """C-CANCEL (PS3.7 9.3.2.3). The node may take some time to stop, but not more than for an answer."""
    association.send_c_cancel(MESSAGE_ID, query_model=model)
    end = time.monotonic() + node.dimse_timeout
    for response, _ in responses:
        if response.get("Status") not in PENDING or time.monotonic() > end:
            break


def _status(node: Node, response: Dataset) -> int:
    """The status of a response. pynetdicom gives none where the association was lost or the node was silent."""
    if "Status" not in response:
        raise NodeError(node, "the association was lost, or no answer came in time")
    return int(response.Status)


def _refusal(node: Node, service: str, status: int, words: Mapping[int, tuple[str, str]]) -> NodeError:
    """An answer that is neither success nor pending. Error Comment (0000,0902) is left out: it may name a patient."""
    category, text = words.get(status, ("", ""))
    return NodeError(
        node, f"answers {service} with 0x{status:04X}: {text or category or 'unknown status'}", retry=status in OUT_OF_RESOURCES
    )


def _query(level: Level, keys: Mapping[str, str]) -> Dataset:
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


def _texts(identifier: Dataset, keywords: Iterable[str]) -> dict[str, str]:
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
