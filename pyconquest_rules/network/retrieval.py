"""Retrieve instances from a node (C-GET and C-MOVE, the Query/Retrieve service class as its SCU: PS3.4 C)."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from pydicom.dataset import Dataset

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Mistake
from pyconquest_rules.network import wire
from pyconquest_rules.network.association import Association, Context, requested
from pyconquest_rules.network.dimse import UNCOMPRESSED, Blocks, Responses, Serve, performed, refusal, unrecognized
from pyconquest_rules.network.identifier import encoded, query
from pyconquest_rules.network.keys import GET, MOVE, UNIQUE, sop_class
from pyconquest_rules.network.limits import LONGEST_UID, MOST_REFUSED, MOST_REFUSED_BYTES, MOST_REQUESTS, MOST_SUBOPERATIONS
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.proposals import CLASSES_AT_ONCE, CONTEXTS, standard, syntaxes
from pyconquest_rules.network.query import find
from pyconquest_rules.network.receiving import Message
from pyconquest_rules.network.statuses import RETRIEVE as OF_RETRIEVE
from pyconquest_rules.network.statuses import Kind, Status, is_stored, kind
from pyconquest_rules.network.storing import About, instance_uid
from pyconquest_rules.network.storing import refusal as refusal_to_store

ALL_FAILED = 0xA702
SUBOPERATIONS = (wire.REMAINING, wire.COMPLETED, wire.FAILED, wire.WARNING)


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of sub-operations of C-GET or C-MOVE (PS3.4 C.4.2.1.6). Each sub-operation stores one instance."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0


Progress = Generator[Counts, None, None]

Store = Callable[[About, Blocks], int]
"""Takes an instance and the blocks of its data set. Returns a status of PS3.4 B.2.3. It need not read all blocks."""

Refused = Callable[[str, int], None]
"""Called with the SOPInstanceUID and the status for each instance that is refused before `Store` is called."""


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
    """Retrieve instances by C-GET (PS3.4 C.4.3). Pass each to `store`, and answer the node with the status that it returns.

    `keys` are the unique keys of the level and of the levels above. `sop_classes` are the SOP classes of the instances. If there
    are none, C-FIND finds them. If C-FIND fails, several associations propose all storage SOP classes, common ones first, until
    no instance is missing. `wanted` is the number of expected instances; the time limit grows with it.

    Each transfer syntax of a SOP class gets its own context while there are enough contexts, so that the node need not
    transcode. The SCP role is proposed; a node that does not accept it may send anyway, as it may to DCMTK's getscu. `store` is
    called in this thread; an exception from it ends the retrieval.

    Raises Mistake for invalid keys, before anything is sent. Raises NodeError if the association is lost, if the final status is
    not success, a warning, or 0xA702 with failed instances, and if the node counts more instances than it sent.
    """
    identifier = _identifier(level, keys)
    classes = list(dict.fromkeys(sop_classes)) or _classes(node, level, keys)
    if classes is not None:
        return _got(node, level, identifier, classes[:CONTEXTS], store, refused, wanted) if classes else Counts()
    total, completed, warning = 0, 0, 0
    classes = standard()
    for start in range(0, len(classes), CLASSES_AT_ONCE):
        counts = _got(node, level, identifier, classes[start : start + CLASSES_AT_ONCE], store, refused, wanted)
        # Instances of other classes failed here; a later association retrieves them.
        total = total or counts.completed + counts.warning + counts.failed
        completed, warning = completed + counts.completed, warning + counts.warning
        if completed + warning >= total:
            break
    return Counts(completed=completed, warning=warning, failed=max(0, total - completed - warning))


def move(node: Node, level: Level, keys: Mapping[str, str], destination: str, *, wanted: int = 0) -> Progress:
    """Have a node send instances to the AE title `destination` by C-MOVE (PS3.4 C.4.2). Yield the counts of each response.

    The last counts are final. `keys` are the unique keys of the level and of the levels above. `wanted` is the number of
    expected instances; the time limit grows with it. Closing the iterator early cancels the retrieval.

    Raises Mistake for invalid keys, before anything is sent. Raises NodeError if the association is lost, and if the final status
    is not success, a warning, or 0xA702 with failed instances.
    """
    return _moved(node, level, _identifier(level, keys), destination, wanted)


def _got(
    node: Node, level: Level, identifier: Dataset, classes: Sequence[str], store: Store, refused: Refused, wanted: int
) -> Counts:
    """Retrieve the instances of some SOP classes by C-GET on one association."""
    statuses: Counter[int] = Counter()
    discarded = _Discarded(node, MOST_REFUSED + wanted)
    model = sop_class(level, GET)
    contexts = [Context(model, UNCOMPRESSED)]
    contexts += [Context(each, tuple(some)) for each in classes for some in syntaxes(CONTEXTS // len(classes))]
    counts = Counts()
    with requested(node, contexts, scp_of=classes) as association:

        def serve(message: Message, data_set: Blocks) -> int:
            if message.kind != wire.C_STORE_RQ:
                return unrecognized(message, data_set)
            abstract, syntax = association.accepted[message.context_id]
            uid = instance_uid(message)
            if status := refusal_to_store(message, abstract):
                refused(uid, status)
            else:
                status = store(About(abstract, uid, syntax, node.ae_title), data_set)
            statuses[status] += 1
            if not is_stored(status):
                discarded.add(data_set)
            return status

        for counts in _suboperations(association, "C-GET", model, identifier, serve=serve, wanted=wanted):  # noqa: B007
            pass
    stored = statuses[Status.SUCCESS]
    warnings = sum(number for status, number in statuses.items() if is_stored(status)) - stored
    if counts.completed + counts.warning > stored + warnings:
        refusals = sum(statuses.values()) - stored - warnings
        more = f", {refusals} were refused here" if refusals else ""
        raise NodeError(
            node, f"reports {counts.completed + counts.warning} instances as sent, but {stored + warnings} arrived{more}"
        )
    total = counts.remaining + counts.completed + counts.failed + counts.warning
    return Counts(completed=stored, warning=warnings, failed=max(0, total - stored - warnings))


@dataclass(slots=True)
class _Discarded:
    """Counts the instances that a node sent and that were not stored."""

    node: Node
    most: int
    number: int = 0
    size: int = 0

    def add(self, data_set: Blocks) -> None:
        """Read the rest of one more data set. Raises NodeError beyond a limit of instances or of bytes."""
        self.number += 1
        for block in data_set:
            self.size += len(block)
            if self.size > MOST_REFUSED_BYTES:
                break
        if self.number > self.most or self.size > MOST_REFUSED_BYTES:
            what = f"sent more than {self.most:,} instances, or {MOST_REFUSED_BYTES:,} bytes, that were refused here"
            raise NodeError(self.node, f'{what}; use level = "image" to request instances one by one', retry=False)


def _classes(node: Node, level: Level, keys: Mapping[str, str]) -> list[str] | None:
    """Query the SOP classes of the instances. Return None if the node does not return them."""
    try:
        classes = set[str]()
        with closing(find(node, Level.IMAGE, keys, ["SOPClassUID"])) as matches:
            for match in matches:
                classes.add(match["SOPClassUID"][:LONGEST_UID])
                if len(classes) > CONTEXTS:  # one association cannot propose more
                    break
    except NodeError as error:
        if error.retry:
            raise
        return None
    return None if "" in classes else sorted(classes)


def _moved(node: Node, level: Level, identifier: Dataset, destination: str, wanted: int) -> Progress:
    model = sop_class(level, MOVE)
    with (
        requested(node, [Context(model, UNCOMPRESSED)]) as association,
        closing(_suboperations(association, "C-MOVE", model, identifier, destination, wanted=wanted)) as progress,
    ):
        yield from progress


def _identifier(level: Level, keys: Mapping[str, str]) -> Dataset:
    """Return the identifier of C-GET or C-MOVE, which has unique keys only (PS3.4 C.4.2.1.4). Raises Mistake for other keys."""
    wanted = UNIQUE[level][1:] if level is Level.STUDY else UNIQUE[level]
    for keyword in keys:
        if keyword not in wanted:
            raise Mistake(f"cannot retrieve by {keyword}", fragment=keyword, hint=f"use {' and '.join(wanted)}")
    for keyword in wanted:
        if not keys.get(keyword) or set(keys[keyword]) & set("*?"):
            raise Mistake(f"a retrieval at the level {level} needs {keyword}, without wild cards", fragment=keyword)
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
    """Yield the counts of every response to C-GET or C-MOVE. The last counts are final."""
    context = next(((number, syntax) for number, (abstract, syntax) in association.accepted.items() if abstract == model), None)
    if context is None:
        raise NodeError(association.node, f"refuses {service}", retry=False)
    context_id, syntax = context
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
            accepted = kind(status) in (Kind.SUCCESS, Kind.PENDING, Kind.WARNING)
            if not accepted and not (status == ALL_FAILED and counts.failed):
                raise refusal(association.node, service, status, OF_RETRIEVE)
            yield counts
