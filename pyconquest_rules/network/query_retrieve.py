"""The Query/Retrieve service class as its user (PS3.4 C): what a node has, and bringing it here."""

import logging
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from pydicom import uid
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, PN_DELIMS, TEXT_VR_DELIMS
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, _config
from pynetdicom.association import Association
from pynetdicom.events import EVT_C_STORE, EVT_CONN_OPEN, Event
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext, build_context, build_role
from pynetdicom.status import QR_FIND_SERVICE_CLASS_STATUS, QR_GET_SERVICE_CLASS_STATUS, QR_MOVE_SERVICE_CLASS_STATUS

from pyconquest_rules.dicom import Level, dictionary, tags
from pyconquest_rules.errors import Mistake, did_you_mean
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.tls import ssl_context

# pynetdicom logs identifiers, that is values of patients, and reads them for that whatever the level of its logger is.
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

MESSAGE_ID = 1
TRANSIENT = 2  # a rejection of an association (PS3.8 9.3.4)
SUCCESS, OUT_OF_RESOURCES, PENDING = 0x0000, range(0xA700, 0xA800), (0xFF00, 0xFF01)
WITH_FAILURES, ALL_FAILED, WARNINGS, CANNOT_STORE = 0xB000, 0xA702, range(0xB000, 0xC000), 0xC000
SUBOPERATIONS = ("Remaining", "Completed", "Failed", "Warning")

UNCOMPRESSED: list[str | UID] = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian]

NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
NOT_TEXT = {"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN", "AT"}

# One context each, because a node picks one syntax of a context, whatever its instances have. The others share the last one.
ALONE: list[str | UID] = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.MPEG2MPML,
    uid.MPEG4HP41,
]
OTHERS = [each for each in ALL_TRANSFER_SYNTAXES if each not in ALONE]
CONTEXTS = 127
"""128 presentation contexts are possible (PS3.8 9.3.2.2: odd numbers up to 255), one of them is for C-GET."""
CLASSES_AT_ONCE = CONTEXTS // (len(ALONE) + 1)

COMMON = [
    uid.CTImageStorage,
    uid.MRImageStorage,
    uid.RTStructureSetStorage,
    uid.RTPlanStorage,
    uid.RTDoseStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.RTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.EnhancedMRImageStorage,
    uid.SegmentationStorage,
    uid.NuclearMedicineImageStorage,
    uid.UltrasoundImageStorage,
    uid.UltrasoundMultiFrameImageStorage,
    uid.XRayAngiographicImageStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.SpatialRegistrationStorage,
    uid.EncapsulatedPDFStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
]
"""The storage SOP classes that archives have most."""

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


Matches = Generator[dict[str, str], None, None]


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
    connected: list[Event] = []
    handlers = [(EVT_CONN_OPEN, connected.append), *arguments.pop("evt_handlers", [])]
    try:
        association = ae.associate(
            node.host, node.port, list(contexts), node.ae_title, node.max_pdu, evt_handlers=handlers, **arguments
        )
    except OSError as error:
        raise NodeError(node, f"cannot be reached: {error.strerror or error}") from None
    if not association.is_established:
        raise _not_established(node, association, connected=bool(connected))
    try:
        _without_delay(association)
        yield association
    except GeneratorExit:
        association.release()
        raise
    except BaseException:
        association.abort()
        raise
    association.release()


def _without_delay(association: Association) -> None:
    """A command and its data set are two writes: without this the second waits for the peer's delayed acknowledgment."""
    connection = association.dul.socket and association.dul.socket.socket
    if connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def undisturbed(association: Association) -> Iterator[None]:
    """Leaves all messages to who waits for them.

    Otherwise the association's own thread, which is told to pause but may just be waking up, can take a response for itself:
    seen as a match that was missing in 1 of 150 queries.
    """
    dimse, get_msg = association.dimse, association.dimse.get_msg
    dimse.get_msg = lambda block=False: get_msg(block=True) if block else (None, None)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del dimse.get_msg  # so that the method of the class is there again


def _not_established(node: Node, association: Association, *, connected: bool) -> NodeError:
    """Why there is no association."""
    if not connected:
        return NodeError(node, "cannot be reached, or TLS with it fails" if node.tls else "cannot be reached")
    if association.is_rejected:
        answer: Any = association.acceptor.primitive
        return NodeError(node, f"rejects the association: {answer.reason_str}", retry=answer.result == TRANSIENT)
    if association.rejected_contexts:
        return NodeError(node, "refuses every presentation context that was proposed", retry=False)
    return NodeError(node, "broke off, or was silent, while the association was negotiated")


def find(node: Node, level: Level, match: Mapping[str, str], return_keys: Sequence[str] = ()) -> Matches:
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


def _found(node: Node, level: Level, match: Mapping[str, str], wanted: Sequence[str]) -> Matches:
    with (
        associated(node, [build_context(_model(level, FIND), UNCOMPRESSED)]) as association,
        undisturbed(association),
        closing(_by_level(node, association, level, {keyword: match[keyword] for keyword in wanted})) as matches,
    ):
        for found in matches:
            yield {keyword: found[keyword] for keyword in wanted}


def _by_level(node: Node, association: Association, level: Level, keys: Mapping[str, str]) -> Matches:
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
        with closing(_answers(node, association, level, {keyword: entity[keyword] for keyword in uids} | own)) as answers:
            for found in answers:
                yield entity | found


def _model(level: Level, operation: int) -> UID:
    return UID(f"{PATIENT_ROOT if level is Level.PATIENT else STUDY_ROOT}.{operation}")


def _is_above(keyword: str, level: Level) -> bool:
    return keyword in OF_STUDY or (level is Level.IMAGE and keyword in OF_SERIES)


def _answers(node: Node, association: Association, level: Level, keys: Mapping[str, str]) -> Matches:
    """The matches of one C-FIND."""
    model = _model(level, FIND)
    responses = association.send_c_find(_query(level, keys), model, msg_id=MESSAGE_ID)
    try:
        for response, identifier in responses:
            status = status_of(node, response)
            if status == SUCCESS:
                return
            if status not in PENDING:
                raise refusal(node, "C-FIND", status, QR_FIND_SERVICE_CLASS_STATUS)
            if identifier is None:
                raise NodeError(node, "answers C-FIND with what cannot be read", retry=False)
            found = _texts(identifier, keys)
            if not all(found[keyword] for keyword in UNIQUE[level] if keyword in keys and keyword != "PatientID"):
                raise NodeError(node, f"answers C-FIND without {' and '.join(UNIQUE[level])}", retry=False)
            yield found
    except GeneratorExit:
        _cancel(node, association, model, responses)
        raise


@dataclass(frozen=True, slots=True)
class Counts:
    """Sub-operations of C-GET or C-MOVE (PS3.4 C.4.2.1.6): one for each instance."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0


Progress = Generator[Counts, None, None]

Store = Callable[[str, str, str, bytes], int]
"""Takes SOP Class, SOP Instance and Transfer Syntax UID and the bytes of a data set; gives a status of PS3.4 B.2.3."""


def present(node: Node, instances: Iterable[tuple[str, str, str]]) -> set[str]:
    """Which of `instances`, given by StudyInstanceUID, SeriesInstanceUID and SOPInstanceUID, a node has: their SOPInstanceUIDs.

    All of a series is asked for at once, so instances come best in the order of their series. Raises NodeError as `find` does.
    """
    found = set()
    for (study, series), members in groupby(instances, key=itemgetter(0, 1)):
        wanted = {instance for _, _, instance in members}
        there = find(node, Level.IMAGE, {"StudyInstanceUID": study, "SeriesInstanceUID": series})
        found |= wanted.intersection(match["SOPInstanceUID"] for match in there)
    return found


def get(node: Node, level: Level, keys: Mapping[str, str], store: Store, sop_classes: Iterable[str] = ()) -> Counts:
    """Brings instances here by C-GET (PS3.4 C.4.3) and hands each to `store`, whose status the node is answered.

    `keys`: the unique keys of the level, and of the levels above. `sop_classes` are those of the instances; where none are given
    C-FIND says them, and where it cannot, all of the Standard are proposed by several associations, common ones first, until
    nothing is missing. A SOP class is proposed with each transfer syntax in a context of its own as far as there are enough
    contexts, so that a node need not transcode. Calls `store` in this thread; what it raises ends the retrieval.

    Raises Mistake before anything is sent; NodeError where the association is lost, for any status but success and those that
    some or all instances failed (0xB000, 0xA702), and where the node counts more instances than came.
    """
    query = _retrieval(level, keys)
    classes = list(dict.fromkeys(sop_classes)) or _classes(node, level, keys)
    if classes is not None:
        return _got(node, level, query, classes[:CONTEXTS], store) if classes else Counts()
    total, completed, warning = 0, 0, 0
    standard = _standard()
    for start in range(0, len(standard), CLASSES_AT_ONCE):
        counts = _got(node, level, query, standard[start : start + CLASSES_AT_ONCE], store)
        # Instances of other classes have failed here, and are brought by another association.
        total = total or counts.completed + counts.warning + counts.failed
        completed, warning = completed + counts.completed, warning + counts.warning
        if completed + warning >= total:
            break
    return Counts(completed=completed, warning=warning, failed=max(0, total - completed - warning))


def _got(node: Node, level: Level, query: Dataset, classes: Sequence[str], store: Store) -> Counts:
    """C-GET on one association, of instances of these SOP classes."""
    statuses: Counter[int] = Counter()
    errors: list[Exception] = []

    def take(event: Event) -> int:
        request: Any = event.request
        try:
            status = store(
                str(request.AffectedSOPClassUID),
                str(request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
                request.DataSet.getvalue() if request.DataSet else b"",
            )
        except Exception as error:  # noqa: BLE001 - pynetdicom would swallow it; it is raised below
            errors.append(error)
            event.assoc.abort()
            event.assoc.dimse.msg_queue.put((None, None))  # as for a lost connection: nobody waits for what does not come
            return CANNOT_STORE
        statuses[status] += 1
        return status

    model = _model(level, GET)
    contexts = [build_context(model, UNCOMPRESSED)]
    contexts += [build_context(each, syntaxes) for each in classes for syntaxes in _syntaxes(CONTEXTS // len(classes))]
    roles = [build_role(UID(each), scp_role=True) for each in classes]
    handlers = [(EVT_C_STORE, take)]
    said = Counts()
    try:
        with associated(node, contexts, ext_neg=roles, evt_handlers=handlers) as association, undisturbed(association):
            for said in _suboperations(node, association, "C-GET", model, query):  # noqa: B007
                pass
    except NodeError:
        if errors:
            raise errors[0] from None
        raise
    stored, warnings = statuses[SUCCESS], sum(number for status, number in statuses.items() if status in WARNINGS)
    if said.completed + said.warning > stored + warnings:
        raise NodeError(node, f"says that it sent {said.completed + said.warning} instances, {stored + warnings} came")
    total = said.remaining + said.completed + said.failed + said.warning
    return Counts(completed=stored, warning=warnings, failed=max(0, total - stored - warnings))


def _syntaxes(number: int) -> list[list[str | UID]]:
    """All transfer syntaxes for so many contexts."""
    alone = ALONE[: number - 1]
    return [*([each] for each in alone), [each for each in [*ALONE, *OTHERS] if each not in alone]]


def _classes(node: Node, level: Level, keys: Mapping[str, str]) -> list[str] | None:
    """The SOP classes of what is to be had, as the node says; None where it does not."""
    try:
        classes = {match["SOPClassUID"] for match in find(node, Level.IMAGE, keys, ["SOPClassUID"])}
    except NodeError as error:
        if error.retry:
            raise
        return None
    return None if "" in classes else sorted(classes)


def _standard() -> list[str]:
    """All storage SOP classes of the Standard, common ones first."""
    known = sorted(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
    return [*COMMON, *(each for each in known if each not in COMMON)]


def move(node: Node, level: Level, keys: Mapping[str, str], destination: str) -> Progress:
    """Has a node send instances to the AE title `destination` by C-MOVE (PS3.4 C.4.2); gives the counts as they are said.

    The last one is final. `keys`: the unique keys of the level, and of the levels above. Closing the iterator early cancels.
    Raises Mistake before anything is sent; NodeError where the association is lost, and for any status but success and those that
    some or all instances failed (0xB000, 0xA702).
    """
    return _moved(node, level, _retrieval(level, keys), destination)


def _moved(node: Node, level: Level, query: Dataset, destination: str) -> Progress:
    model = _model(level, MOVE)
    with associated(node, [build_context(model, UNCOMPRESSED)]) as association, undisturbed(association):
        yield from _suboperations(node, association, "C-MOVE", model, query, destination)


def _retrieval(level: Level, keys: Mapping[str, str]) -> Dataset:
    """The identifier of C-GET or C-MOVE, which has the unique keys alone (PS3.4 C.4.2.1.4)."""
    wanted = UNIQUE[level][1:] if level is Level.STUDY else UNIQUE[level]
    for keyword in keys:
        if keyword not in wanted:
            raise Mistake(f"{keyword} cannot be retrieved by", fragment=keyword, hint=f"give {' and '.join(wanted)}")
    for keyword in wanted:
        if not keys.get(keyword) or set(keys[keyword]) & set("*?"):
            raise Mistake(f"to retrieve a {level}, {keyword} must be given, without wild cards", fragment=keyword)
    return _query(level, keys)


def _suboperations(
    node: Node, association: Association, service: str, model: UID, query: Dataset, destination: str = ""
) -> Progress:
    """The counts of every response to C-GET or C-MOVE, of the final one last."""
    if not any(context.abstract_syntax == model for context in association.accepted_contexts):
        raise NodeError(node, f"refuses {service}", retry=False)
    responses = (
        association.send_c_move(query, destination, model, msg_id=MESSAGE_ID)
        if destination
        else association.send_c_get(query, model, msg_id=MESSAGE_ID)
    )
    words = QR_MOVE_SERVICE_CLASS_STATUS if destination else QR_GET_SERVICE_CLASS_STATUS
    try:
        for response, _ in responses:
            status = status_of(node, response)
            counts = Counts(*(int(response.get(f"NumberOf{what}Suboperations") or 0) for what in SUBOPERATIONS))
            if status not in (SUCCESS, WITH_FAILURES, *PENDING) and not (status == ALL_FAILED and counts.failed):
                raise refusal(node, service, status, words)
            yield counts
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


def status_of(node: Node, response: Dataset) -> int:
    """The status of a response. pynetdicom gives none where the association was lost or the node was silent."""
    if "Status" not in response:
        raise NodeError(node, "the association was lost, or no answer came in time")
    return int(response.Status)


def refusal(node: Node, service: str, status: int, words: Mapping[int, tuple[str, str]]) -> NodeError:
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
