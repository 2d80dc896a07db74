"""Query a node (C-FIND, the Query/Retrieve service class as its SCU: PS3.4 C)."""

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from tempfile import SpooledTemporaryFile

from pyconquest_rules.dicom import Level
from pyconquest_rules.network import wire
from pyconquest_rules.network.association import Association, Context, requested
from pyconquest_rules.network.dimse import UNCOMPRESSED, performed, refusal
from pyconquest_rules.network.identifier import answer, encoded, query
from pyconquest_rules.network.keys import FIND, UNIQUE, is_above, sop_class
from pyconquest_rules.network.limits import LONGEST_UID, MOST_RECEIVED
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.statuses import FIND as OF_FIND
from pyconquest_rules.network.statuses import WARNINGS, Kind, Status, kind

IN_MEMORY = 1 << 20
"""Bytes of matches that are held in memory; more go to a temporary file."""

ABOVE = {Level.SERIES: Level.STUDY, Level.IMAGE: Level.SERIES}

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
    """Query a node by C-FIND (PS3.4 C.4.1). Yield each match as a dict of text by keyword.

    `match` maps keywords to a value, a wild card, a range, or UIDs joined by a backslash (PS3.4 C.2.2.2). A match has the unique
    keys of the level and of the levels above, then the keys of `match`, then `return_keys`. Multiple values are joined by a
    backslash; a value that the node did not return is "". A match that cannot be read or lacks a unique UID is skipped, and
    `skipped` is called.

    The query uses Study Root, or Patient Root at the level patient. It is hierarchical (PS3.4 C.4.1.2.1), which every node must
    support: if `match` does not name one study (and one series), they are found first. With `relational`, one query
    (PS3.4 C.4.1.2.2.1) does all; a node may refuse it. Closing the iterator early cancels the query.

    Raises Mistake for invalid keys, before anything is sent. Raises NodeError if the association is lost, or for a status which
    means that matches may be missing.
    """
    keys = {keyword: match.get(keyword, "") for keyword in [*UNIQUE[level], *match, *return_keys]}
    query(level, keys)  # raises Mistake now, not at the first match
    return _found(node, level, keys, _answers if relational else _by_level, skipped)


def present(node: Node, instances: Iterable[tuple[str, str, str]]) -> set[str]:
    """Return the SOPInstanceUIDs of the instances that a node has.

    `instances` are StudyInstanceUID, SeriesInstanceUID and SOPInstanceUID. Each run of instances of one series is one query, so
    sort them by series. Raises NodeError as `find` does.
    """
    found = set()
    for (study, series), members in groupby(instances, key=itemgetter(0, 1)):
        expected = {instance for _, _, instance in members}
        matches = find(node, Level.IMAGE, {"StudyInstanceUID": study, "SeriesInstanceUID": series})
        found |= expected.intersection(match["SOPInstanceUID"] for match in matches)
    return found


def _found(node: Node, level: Level, keys: Mapping[str, str], ask: Callable[..., Matches], skipped: Skip) -> Matches:
    with (
        requested(node, [Context(sop_class(level, FIND), UNCOMPRESSED)]) as association,
        closing(ask(association, level, keys, skipped)) as matches,
    ):
        for found in matches:
            yield {keyword: found[keyword] for keyword in keys}


def _by_level(association: Association, level: Level, keys: Mapping[str, str], skipped: Skip) -> Matches:
    """Yield matches with the values of the levels above. A value of "" in `keys` matches anything."""
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
    """Receive all matches, then yield them: an association does one operation at a time."""
    with SpooledTemporaryFile(IN_MEMORY, "w+", encoding="ascii") as file:
        for match in matches:
            json.dump(match, file)
            file.write("\n")
        file.seek(0)
        for line in file:
            yield json.loads(line)


def _is_one(uid: str) -> bool:
    """Return whether a value is one UID, not a list or a wild card. Real UIDs have more characters than PS3.5 9.1 allows."""
    return 0 < len(uid) <= LONGEST_UID and uid.isascii() and uid.isprintable() and not set(uid) & set("*?\\ ")


def _answers(association: Association, level: Level, keys: Mapping[str, str], skipped: Skip) -> Matches:
    """Yield the matches of one C-FIND. UIDs of the levels above that a match lacks are taken from the query."""
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
