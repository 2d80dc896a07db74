"""The Query/Retrieve service class as its user (PS3.4 C): what a node has, and bringing it here."""

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from tempfile import SpooledTemporaryFile

from pydicom.dataset import Dataset

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Mistake
from pyconquest_rules.network import wire
from pyconquest_rules.network.association import Association, Context, requested
from pyconquest_rules.network.dimse import UNCOMPRESSED, Blocks, Responses, Serve, performed, refusal, unrecognized
from pyconquest_rules.network.identifier import answer, encoded, query
from pyconquest_rules.network.keys import UNIQUE, is_above
from pyconquest_rules.network.limits import (
    LONGEST_UID,
    MOST_RECEIVED,
    MOST_REFUSED,
    MOST_REFUSED_BYTES,
    MOST_REQUESTS,
    MOST_SUBOPERATIONS,
)
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.proposals import CLASSES_AT_ONCE, CONTEXTS, standard, syntaxes
from pyconquest_rules.network.receiving import Message
from pyconquest_rules.network.statuses import FIND as OF_FIND
from pyconquest_rules.network.statuses import RETRIEVE as OF_RETRIEVE
from pyconquest_rules.network.statuses import WARNINGS, Kind, Status, is_stored, kind
from pyconquest_rules.network.storing import About, instance_uid
from pyconquest_rules.network.storing import refusal as refusal_to_store

ALL_FAILED = 0xA702
SUBOPERATIONS = (wire.REMAINING, wire.COMPLETED, wire.FAILED, wire.WARNING)

# So many bytes of matches are held in memory, the rest on the disk.
IN_MEMORY = 1 << 20

ABOVE = {Level.SERIES: Level.STUDY, Level.IMAGE: Level.SERIES}

PATIENT_ROOT, STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.1", "1.2.840.10008.5.1.4.1.2.2"
FIND, MOVE, GET = 1, 2, 3
"""The SOP classes are those of a root with one of these at the end (PS3.4 C.6)."""

Matches = Generator[dict[str, str], None, None]

Skip = Callable[[], object]
"""Called for each match that is skipped."""


def find(
    node: Node,
    level: Level,
    match: Mapping[str, str],
    return_keys: Sequence[str] = (),
    *,
    relational: bool = False,
    skipped: Skip = lambda: None,
) -> Matches:
    """What a node has at a level, by C-FIND (PS3.4 C.4.1): for each the values of the keys that were asked for, as text.

    `match` has DICOM keywords with what they must be: a value, a wild card, a range, a list of UIDs joined by a backslash
    (PS3.4 C.2.2.2). The unique keys of the level and of the levels above are always returned, then those of `match`, then
    `return_keys`. Several values of one element are joined by a backslash; "" is where the node gave none. A match that cannot be
    read, or that lacks one of the unique UIDs, is skipped, and `skipped` is called.

    Study Root is asked, Patient Root at the level patient, and level by level (PS3.4 C.4.1.2.1), which is all that a node must
    support: where `match` does not name one study (and one series), these are found first. With `relational`, all is asked for
    by one query (PS3.4 C.4.1.2.2.1), which a node may refuse. Closing the iterator early cancels.
    Raises Mistake before anything is sent; NodeError where the association is lost and for any status that means that matches
    may be missing.
    """
    keys = {keyword: match.get(keyword, "") for keyword in [*UNIQUE[level], *match, *return_keys]}
    query(level, keys)  # so that a mistake is known now, and not when the first match is wanted
    return _found(node, level, keys, _answers if relational else _by_level, skipped)


def _found(node: Node, level: Level, keys: Mapping[str, str], ask: Callable[..., Matches], skipped: Skip) -> Matches:
    with (
        requested(node, [Context(_model(level, FIND), UNCOMPRESSED)]) as association,
        closing(ask(association, level, keys, skipped)) as matches,
    ):
        for found in matches:
            yield {keyword: found[keyword] for keyword in keys}


def _by_level(association: Association, level: Level, keys: Mapping[str, str], skipped: Skip) -> Matches:
    """Matches with the values of the levels above. `keys`: what is asked for, "" where any value will do."""
    above = ABOVE.get(level)
    higher = {keyword: value for keyword, value in keys.items() if is_above(keyword, level)}
    own = {keyword: value for keyword, value in keys.items() if keyword not in higher}
    if above is None:
        yield from _answers(association, level, own, skipped)
        return
    uids = [keyword for keyword in UNIQUE[above] if keyword != "PatientID"]
    if set(higher) == set(uids) and all(_is_one(higher[keyword]) for keyword in uids):
        entities = iter([higher])
    else:
        entities = _held(_by_level(association, above, higher, skipped))
    for entity in entities:
        asked = {keyword: entity[keyword] for keyword in uids} | own
        with closing(_answers(association, level, asked, skipped)) as answers:
            for found in answers:
                yield entity | found


def _held(matches: Matches) -> Iterator[dict[str, str]]:
    """Matches, all of which come before the first is yielded: an association takes one operation at a time. Many wait on disk."""
    with SpooledTemporaryFile(IN_MEMORY, "w+", encoding="ascii") as file:
        for match in matches:
            json.dump(match, file)
            file.write("\n")
        file.seek(0)
        for line in file:
            yield json.loads(line)


def _model(level: Level, operation: int) -> str:
    return f"{PATIENT_ROOT if level is Level.PATIENT else STUDY_ROOT}.{operation}"


def _is_one(uid: str) -> bool:
    """Whether a value is one UID, and not a list or a wild card. Archives have UIDs with other letters than PS3.5 9.1 allows."""
    return 0 < len(uid) <= LONGEST_UID and uid.isascii() and uid.isprintable() and not set(uid) & set("*?\\ ")


def _answers(association: Association, level: Level, keys: Mapping[str, str], skipped: Skip) -> Matches:
    """The matches of one C-FIND. What a match does not say of the levels above is as it was asked for."""
    (context_id, (model, syntax)), *_ = association.accepted.items()
    request: wire.Command = {
        wire.AFFECTED_SOP_CLASS: model.encode(),
        wire.COMMAND_FIELD: wire.C_FIND_RQ,
        wire.PRIORITY: 0,
    }
    uids = [keyword for keyword in UNIQUE[level] if keyword != "PatientID"]
    asked = {keyword: keys[keyword] for keyword in uids[:-1] if _is_one(keys[keyword])}
    with closing(performed(association, context_id, request, encoded(query(level, keys), syntax))) as responses:
        for status, _, data_set in responses:
            if association.messages.received > MOST_RECEIVED:
                more = f"sent more than {MOST_RECEIVED:,} bytes of matches; narrow the query"
                raise NodeError(association.node, more, retry=False)
            if kind(status) is Kind.PENDING:
                found = answer(data_set, syntax, keys)
                if found is not None:
                    found |= {keyword: value for keyword, value in asked.items() if not found[keyword]}
                if found is not None and all(_is_one(found[keyword]) for keyword in uids):
                    yield found
                else:
                    skipped()
            elif status != Status.SUCCESS and status not in WARNINGS:
                raise refusal(association.node, "C-FIND", status, OF_FIND)


@dataclass(frozen=True, slots=True)
class Counts:
    """Sub-operations of C-GET or C-MOVE (PS3.4 C.4.2.1.6): one for each instance."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0


Progress = Generator[Counts, None, None]

Store = Callable[[About, Blocks], int]
"""Takes an instance, whose data set comes in blocks; returns a status of PS3.4 B.2.3. It need not read all of it."""

Refused = Callable[[str, int], None]
"""Called for each instance that is refused here before `Store` is called: with its SOPInstanceUID and the status."""


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


def get(
    node: Node,
    level: Level,
    keys: Mapping[str, str],
    store: Store,
    sop_classes: Iterable[str] = (),
    *,
    refused: Refused = lambda _uid, _status: None,
    wanted: int = 0,
) -> Counts:
    """Brings instances here by C-GET (PS3.4 C.4.3) and hands each to `store`, whose status the node is answered.

    `keys`: the unique keys of the level, and of the levels above. `sop_classes` are those of the instances; where none are given
    C-FIND says them, and where it cannot, all of the Standard are proposed by several associations, common ones first, until
    nothing is missing. A SOP class is proposed with each transfer syntax in a context of its own as far as there are enough
    contexts, so that a node need not transcode. Calls `store` in this thread; what it raises ends the retrieval. That we are SCP
    is proposed; a node that does not answer that may send all the same, as with DCMTK's getscu. `wanted` is how many instances
    the node may take its time for.

    Raises Mistake before anything is sent; NodeError where the association is lost, for any status but success and those that
    some or all instances failed (warnings, 0xA702), and where the node counts more instances than came.
    """
    identifier = _retrieval(level, keys)
    classes = list(dict.fromkeys(sop_classes)) or _classes(node, level, keys)
    if classes is not None:
        return _got(node, level, identifier, classes[:CONTEXTS], store, refused, wanted) if classes else Counts()
    total, completed, warning = 0, 0, 0
    classes = standard()
    for start in range(0, len(classes), CLASSES_AT_ONCE):
        counts = _got(node, level, identifier, classes[start : start + CLASSES_AT_ONCE], store, refused, wanted)
        # Instances of other classes have failed here, and are brought by another association.
        total = total or counts.completed + counts.warning + counts.failed
        completed, warning = completed + counts.completed, warning + counts.warning
        if completed + warning >= total:
            break
    return Counts(completed=completed, warning=warning, failed=max(0, total - completed - warning))


def _got(
    node: Node, level: Level, identifier: Dataset, classes: Sequence[str], store: Store, refused: Refused, wanted: int
) -> Counts:
    """C-GET on one association, of instances of these SOP classes."""
    statuses: Counter[int] = Counter()
    left_out = _LeftOut(node, MOST_REFUSED + wanted)
    model = _model(level, GET)
    contexts = [Context(model, UNCOMPRESSED)]
    contexts += [Context(each, tuple(some)) for each in classes for some in syntaxes(CONTEXTS // len(classes))]
    said = Counts()
    with requested(node, contexts, scp_of=classes) as association:

        def serve(message: Message, data_set: Blocks) -> int:
            if message.kind != wire.C_STORE_RQ:
                return unrecognized(message, data_set)
            sop_class, syntax = association.accepted[message.context_id]
            uid = instance_uid(message)
            if status := refusal_to_store(message, sop_class):
                refused(uid, status)
            else:
                status = store(About(sop_class, uid, syntax, node.ae_title), data_set)
            statuses[status] += 1
            if not is_stored(status):
                left_out.add(data_set)
            return status

        for said in _suboperations(association, "C-GET", model, identifier, serve=serve, wanted=wanted):  # noqa: B007
            pass
    stored = statuses[Status.SUCCESS]
    warnings = sum(number for status, number in statuses.items() if is_stored(status)) - stored
    if said.completed + said.warning > stored + warnings:
        refusals = sum(statuses.values()) - stored - warnings
        more = f", {refusals} were refused here" if refusals else ""
        raise NodeError(node, f"says that it sent {said.completed + said.warning} instances, {stored + warnings} came{more}")
    total = said.remaining + said.completed + said.failed + said.warning
    return Counts(completed=stored, warning=warnings, failed=max(0, total - stored - warnings))


@dataclass(slots=True)
class _LeftOut:
    """What a node sent and nobody kept."""

    node: Node
    most: int
    number: int = 0
    size: int = 0

    def add(self, data_set: Blocks) -> None:
        """Reads past one more instance. Raises NodeError for too many, or too many bytes of them."""
        self.number += 1
        for block in data_set:
            self.size += len(block)
            if self.size > MOST_REFUSED_BYTES:
                break
        if self.number > self.most or self.size > MOST_REFUSED_BYTES:
            what = f"sent more than {self.most:,} instances, or {MOST_REFUSED_BYTES:,} bytes, that were refused here"
            raise NodeError(self.node, f'{what}; level = "image" requests instances one by one', retry=False)


def _classes(node: Node, level: Level, keys: Mapping[str, str]) -> list[str] | None:
    """The SOP classes of what is to be had, as the node says; None where it does not."""
    try:
        classes = set[str]()
        with closing(find(node, Level.IMAGE, keys, ["SOPClassUID"])) as matches:
            for match in matches:
                classes.add(match["SOPClassUID"][:LONGEST_UID])
                if len(classes) > CONTEXTS:  # no association proposes more
                    break
    except NodeError as error:
        if error.retry:
            raise
        return None
    return None if "" in classes else sorted(classes)


def move(node: Node, level: Level, keys: Mapping[str, str], destination: str, *, wanted: int = 0) -> Progress:
    """Has a node send instances to the AE title `destination` by C-MOVE (PS3.4 C.4.2); gives the counts as they are said.

    The last one is final. `keys`: the unique keys of the level, and of the levels above. `wanted` is how many instances the node
    may take its time for. Closing the iterator early cancels.
    Raises Mistake before anything is sent; NodeError where the association is lost, and for any status but success and those that
    some or all instances failed (0xB000, 0xA702).
    """
    return _moved(node, level, _retrieval(level, keys), destination, wanted)


def _moved(node: Node, level: Level, identifier: Dataset, destination: str, wanted: int) -> Progress:
    model = _model(level, MOVE)
    with (
        requested(node, [Context(model, UNCOMPRESSED)]) as association,
        closing(_suboperations(association, "C-MOVE", model, identifier, destination, wanted=wanted)) as progress,
    ):
        yield from progress


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
    association: Association,
    service: str,
    model: str,
    identifier: Dataset,
    destination: str = "",
    serve: Serve = unrecognized,
    *,
    wanted: int,
) -> Progress:
    """The counts of every response to C-GET or C-MOVE, of the final one last."""
    found = next(((number, syntax) for number, (abstract, syntax) in association.accepted.items() if abstract == model), None)
    if found is None:
        raise NodeError(association.node, f"refuses {service}", retry=False)
    context_id, syntax = found
    request: dict[int, bytes | int] = {
        wire.AFFECTED_SOP_CLASS: model.encode(),
        wire.COMMAND_FIELD: wire.C_MOVE_RQ if destination else wire.C_GET_RQ,
        wire.PRIORITY: 0,
    }
    if destination:
        title = destination.encode("ascii", "replace")
        request[wire.MOVE_DESTINATION] = title + b" " * (len(title) % 2)
    responses: Responses
    most = MOST_REQUESTS if destination else MOST_SUBOPERATIONS
    data_set = encoded(identifier, syntax)
    with closing(performed(association, context_id, request, data_set, serve, wanted=wanted, requests=most)) as responses:
        for status, command, _ in responses:
            counts = Counts(*(wire.number(command, each) if command.get(each) else 0 for each in SUBOPERATIONS))
            goes_on = kind(status) in (Kind.SUCCESS, Kind.PENDING, Kind.WARNING)
            if not goes_on and not (status == ALL_FAILED and counts.failed):
                raise refusal(association.node, service, status, OF_RETRIEVE)
            yield counts
