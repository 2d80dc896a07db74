"""The Query/Retrieve service class as its user (PS3.4 C): what a node has, and bringing it here."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.events import EVT_C_STORE, Event
from pynetdicom.presentation import build_context, build_role
from pynetdicom.status import QR_FIND_SERVICE_CLASS_STATUS, QR_GET_SERVICE_CLASS_STATUS, QR_MOVE_SERVICE_CLASS_STATUS

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Mistake
from pyconquest_rules.network.dimse import SUCCESS, UNCOMPRESSED, associated, lost, refusal, status_of, undisturbed
from pyconquest_rules.network.identifier import query, texts
from pyconquest_rules.network.keys import UNIQUE, is_above
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.proposals import CLASSES_AT_ONCE, CONTEXTS, standard, syntaxes

MESSAGE_ID = 1
PENDING = (0xFF00, 0xFF01)
WITH_FAILURES, ALL_FAILED, WARNINGS, CANNOT_STORE = 0xB000, 0xA702, range(0xB000, 0xC000), 0xC000
SUBOPERATIONS = ("Remaining", "Completed", "Failed", "Warning")

ABOVE = {Level.SERIES: Level.STUDY, Level.IMAGE: Level.SERIES}

PATIENT_ROOT, STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.1", "1.2.840.10008.5.1.4.1.2.2"
FIND, MOVE, GET = 1, 2, 3
"""The SOP classes are those of a root with one of these at the end (PS3.4 C.6)."""

Matches = Generator[dict[str, str], None, None]


def find(
    node: Node, level: Level, match: Mapping[str, str], return_keys: Sequence[str] = (), *, relational: bool = False
) -> Matches:
    """What a node has at a level, by C-FIND (PS3.4 C.4.1): for each the values of the keys that were asked for, as text.

    `match` has DICOM keywords with what they must be: a value, a wild card, a range, a list of UIDs joined by a backslash
    (PS3.4 C.2.2.2). The unique keys of the level and of the levels above are always returned, then those of `match`, then
    `return_keys`. Several values of one element are joined by a backslash; "" is where the node gave none.

    Study Root is asked, Patient Root at the level patient, and level by level (PS3.4 C.4.1.2.1), which is all that a node must
    support: where `match` does not name one study (and one series), these are found first. With `relational`, all is asked for
    by one query (PS3.4 C.4.1.2.2.1), which a node may refuse. Closing the iterator early cancels.
    Raises Mistake before anything is sent; NodeError where the association is lost and for any status but success.
    """
    keys = {keyword: match.get(keyword, "") for keyword in [*UNIQUE[level], *match, *return_keys]}
    query(level, keys)  # so that a mistake is known now, and not when the first match is wanted
    return _found(node, level, keys, _answers if relational else _by_level)


def _found(node: Node, level: Level, keys: Mapping[str, str], asking: Callable[..., Matches]) -> Matches:
    with (
        associated(node, [build_context(_model(level, FIND), UNCOMPRESSED)]) as association,
        undisturbed(association),
        closing(asking(node, association, level, keys)) as matches,
    ):
        for found in matches:
            yield {keyword: found[keyword] for keyword in keys}


def _by_level(node: Node, association: Association, level: Level, keys: Mapping[str, str]) -> Matches:
    """Matches with the values of the levels above. `keys`: what is asked for, "" where any value will do."""
    above = ABOVE.get(level)
    higher = {keyword: value for keyword, value in keys.items() if is_above(keyword, level)}
    own = {keyword: value for keyword, value in keys.items() if keyword not in higher}
    if above is None:
        yield from _answers(node, association, level, own)
        return
    uids = [keyword for keyword in UNIQUE[above] if keyword != "PatientID"]
    if set(higher) == set(uids) and all(_is_one(higher[keyword]) for keyword in uids):
        entities = [higher]
    else:  # as a list, because an association takes one operation at a time
        entities = list(_by_level(node, association, above, higher))
    for entity in entities:
        with closing(_answers(node, association, level, {keyword: entity[keyword] for keyword in uids} | own)) as answers:
            for found in answers:
                yield entity | found


def _model(level: Level, operation: int) -> UID:
    return UID(f"{PATIENT_ROOT if level is Level.PATIENT else STUDY_ROOT}.{operation}")


def _is_one(uid: str) -> bool:
    """Whether a value is one UID, and not a list or a wild card. Archives have UIDs with other letters than PS3.5 9.1 allows."""
    return uid != "" and uid.isascii() and uid.isprintable() and not set(uid) & set("*?\\ ")


def _answers(node: Node, association: Association, level: Level, keys: Mapping[str, str]) -> Matches:
    """The matches of one C-FIND."""
    model = _model(level, FIND)
    try:
        responses = association.send_c_find(query(level, keys), model, msg_id=MESSAGE_ID)
    except RuntimeError:  # of pynetdicom, where the association was lost since the query before
        raise lost(node) from None
    try:
        for response, identifier in responses:
            status = status_of(node, response)
            if status == SUCCESS:
                return
            if status not in PENDING:
                raise refusal(node, "C-FIND", status, QR_FIND_SERVICE_CLASS_STATUS)
            if identifier is None:
                raise NodeError(node, "answers C-FIND with what cannot be read", retry=False)
            found = texts(identifier, keys)
            if not all(_is_one(found[keyword]) for keyword in UNIQUE[level] if keyword != "PatientID"):
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
    identifier = _retrieval(level, keys)
    classes = list(dict.fromkeys(sop_classes)) or _classes(node, level, keys)
    if classes is not None:
        return _got(node, level, identifier, classes[:CONTEXTS], store) if classes else Counts()
    total, completed, warning = 0, 0, 0
    classes = standard()
    for start in range(0, len(classes), CLASSES_AT_ONCE):
        counts = _got(node, level, identifier, classes[start : start + CLASSES_AT_ONCE], store)
        # Instances of other classes have failed here, and are brought by another association.
        total = total or counts.completed + counts.warning + counts.failed
        completed, warning = completed + counts.completed, warning + counts.warning
        if completed + warning >= total:
            break
    return Counts(completed=completed, warning=warning, failed=max(0, total - completed - warning))


def _got(node: Node, level: Level, identifier: Dataset, classes: Sequence[str], store: Store) -> Counts:
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
    contexts += [build_context(each, some) for each in classes for some in syntaxes(CONTEXTS // len(classes))]
    roles = [build_role(UID(each), scp_role=True) for each in classes]
    handlers = [(EVT_C_STORE, take)]
    said = Counts()
    try:
        with associated(node, contexts, ext_neg=roles, evt_handlers=handlers) as association, undisturbed(association):
            for said in _suboperations(node, association, "C-GET", model, identifier):  # noqa: B007
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


def _classes(node: Node, level: Level, keys: Mapping[str, str]) -> list[str] | None:
    """The SOP classes of what is to be had, as the node says; None where it does not."""
    try:
        classes = {match["SOPClassUID"] for match in find(node, Level.IMAGE, keys, ["SOPClassUID"])}
    except NodeError as error:
        if error.retry:
            raise
        return None
    return None if "" in classes else sorted(classes)


def move(node: Node, level: Level, keys: Mapping[str, str], destination: str) -> Progress:
    """Has a node send instances to the AE title `destination` by C-MOVE (PS3.4 C.4.2); gives the counts as they are said.

    The last one is final. `keys`: the unique keys of the level, and of the levels above. Closing the iterator early cancels.
    Raises Mistake before anything is sent; NodeError where the association is lost, and for any status but success and those that
    some or all instances failed (0xB000, 0xA702).
    """
    return _moved(node, level, _retrieval(level, keys), destination)


def _moved(node: Node, level: Level, identifier: Dataset, destination: str) -> Progress:
    model = _model(level, MOVE)
    with associated(node, [build_context(model, UNCOMPRESSED)]) as association, undisturbed(association):
        yield from _suboperations(node, association, "C-MOVE", model, identifier, destination)


def _retrieval(level: Level, keys: Mapping[str, str]) -> Dataset:
    """The identifier of C-GET or C-MOVE, which has the unique keys alone (PS3.4 C.4.2.1.4)."""
    wanted = UNIQUE[level][1:] if level is Level.STUDY else UNIQUE[level]
    for keyword in keys:
        if keyword not in wanted:
            raise Mistake(f"{keyword} cannot be retrieved by", fragment=keyword, hint=f"give {' and '.join(wanted)}")
    for keyword in wanted:
        if not keys.get(keyword) or set(keys[keyword]) & set("*?"):
            raise Mistake(f"at the level {level}, {keyword} must be given to retrieve, without wild cards", fragment=keyword)
    return query(level, keys)


def _suboperations(
    node: Node, association: Association, service: str, model: UID, identifier: Dataset, destination: str = ""
) -> Progress:
    """The counts of every response to C-GET or C-MOVE, of the final one last."""
    if not any(context.abstract_syntax == model for context in association.accepted_contexts):
        raise NodeError(node, f"refuses {service}", retry=False)
    try:
        responses = (
            association.send_c_move(identifier, destination, model, msg_id=MESSAGE_ID)
            if destination
            else association.send_c_get(identifier, model, msg_id=MESSAGE_ID)
        )
    except RuntimeError:
        raise lost(node) from None
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
    if not association.is_established:
        return
    association.send_c_cancel(MESSAGE_ID, query_model=model)
    end = time.monotonic() + node.dimse_timeout
    for response, _ in responses:
        if response.get("Status") not in PENDING or time.monotonic() > end:
            break
