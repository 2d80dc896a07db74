"""The model, checks and requests of `[retrieve.NAME]`."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from hashlib import sha256
from itertools import groupby, islice
from operator import itemgetter
from typing import Annotated, Any

from pydantic import Field

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Mistake, Problem
from pyconquest_rules.kinds.retrieve.matching import LastDays, Match
from pyconquest_rules.network.keys import check_key, check_value, is_date
from pyconquest_rules.rules.fields import ActionName, NodeName, Reference, SourceName, Table
from pyconquest_rules.rules.kinds import Seen
from pyconquest_rules.rules.positions import Path
from pyconquest_rules.rules.validation import STAND_IN
from pyconquest_rules.steps import Reason, Request, Series
from pyconquest_rules.templates import with_vars

AT_ONCE = 1000

ListenerName = Annotated[str, Reference("listener", "listen")]


class By(StrEnum):
    """How instances are retrieved: by C-GET on the same association, or by C-MOVE to a listener of ours."""

    GET = "get"
    MOVE = "move"


class Retrieve(Table):
    """Retrieves the instances of a node that the index lacks, into a source with a layout."""

    node: Annotated[NodeName, Field(description="The node to retrieve from.")]
    level: Annotated[Level, Field(description="The level of the matches. Each match is retrieved completely.")]
    match: Annotated[
        dict[str, Match],
        Field(
            min_length=1,
            description=(
                "The matching keys: DICOM keywords with a value, a wild card, a range or a list; {{ vars.NAME }} may be used. "
                "For a date also { last_days = 7 }: the day of the run and the 7 days before."
            ),
        ),
    ]
    into: Annotated[SourceName, Field(description="The source that stores the instances. It must have a layout.")]
    by: Annotated[By, Field(description="Retrieve by C-GET, or by C-MOVE to a listener of these rules.")] = By.GET
    listener: Annotated[
        ListenerName | None, Field(description="For C-MOVE: the listener. The node must know its AE title as a destination.")
    ] = None
    needs: Annotated[
        tuple[ActionName, ...], Field(description='Other retrievals that must succeed before this one: "retrieve.NAME".')
    ] = ()
    tags: Annotated[tuple[str, ...], Field(description="Words that select the action: `apply tag:nightly`.")] = ()

    @property
    def fingerprint(self) -> str:
        """Return a digest of the keys that decide how and where instances are stored. The instances themselves are not in it."""
        kind = {"kind": "retrieve", "into": self.into, "by": self.by, "listener": self.listener}
        return sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()


def check(retrieve: Retrieve, place: Path, seen: Seen) -> Iterator[Problem]:
    """Yield the errors of `match`, `needs` and `listener`."""
    for keyword, value in retrieve.match.items():
        yield from _match_problems((*place, "match", keyword), keyword, value, retrieve.level, seen)
    for number, needed in enumerate(retrieve.needs):
        if needed.partition(".")[0] in seen.acting - {place[0]}:
            message, hint = "a retrieval runs before all other actions", "it can need only retrieve.NAME"
            yield seen.places.at_value((*place, "needs", number), message, hint)
    if retrieve.listener is not None and retrieve.by is not By.MOVE:
        message, hint = "a listener is for C-MOVE", 'add by = "move", or remove the listener'
        yield seen.places.at_value((*place, "listener"), message, hint)
    elif retrieve.listener is not None:
        if listen := seen.tables["listen"].get(retrieve.listener):
            yield from _listener_problems((*place, "listener"), listen, retrieve, seen)
    elif retrieve.by is By.MOVE:
        hint = f"listeners are: {', '.join(seen.places.names('listen')) or 'none'}"
        yield seen.places.at_value((*place, "by"), 'C-MOVE needs a "listener"', hint)


def _match_problems(place: Path, keyword: str, value: Match, level: Level, seen: Seen) -> Iterator[Problem]:
    """Yield the errors of one key of `match` and its value."""
    try:
        check_key(keyword, level)
    except Mistake as mistake:
        yield seen.places.at_key(place, mistake.message, mistake.hint)
        return
    try:
        if isinstance(value, LastDays):
            if not is_date(keyword):
                raise Mistake(f"{keyword} is not a date", fragment="last_days", hint="last_days is for dates, as StudyDate")
            return
        text = with_vars(value, seen.params)
        if value and not text:
            raise Mistake(f"{keyword} would match everything: its variable is empty", hint="give the variable a value")
        if STAND_IN not in text:
            check_value(keyword, text)
    except Mistake as mistake:
        yield seen.places.within(place, mistake)


def _listener_problems(place: Path, listen: Any, retrieve: Retrieve, seen: Seen) -> Iterator[Problem]:
    """Yield the reasons why a listener cannot receive from the node."""
    node = seen.tables["nodes"].get(retrieve.node)
    calling = node.ae_title if node is not None else None
    if listen.into != retrieve.into:
        message, hint = f'the listener "{retrieve.listener}" stores in another source', f'it has into = "{listen.into}"'
    elif listen.port == 0:
        message, hint = f'the listener "{retrieve.listener}" has no fixed port', "the node must know the port; set one"
    elif listen.allow and calling is not None and calling not in listen.allow:
        message, hint = f'the listener "{retrieve.listener}" does not allow the node', f'add to its allow: "{calling}"'
    else:
        return
    yield seen.places.at_value(place, message, hint)


def bound(retrieve: Retrieve, params: Mapping[str, str]) -> Retrieve:
    """Return the action with the values of variables in `match`."""
    match = {key: value if isinstance(value, LastDays) else with_vars(value, params) for key, value in retrieve.match.items()}
    return retrieve.model_copy(update={"match": match})


def retrieve_requests(matches: Iterable[Mapping[str, str]], known: Callable[[list[str]], Iterable[str]]) -> Iterator[Request]:
    """Yield a request for each match of a node, series by series. If the index has the instance, its reason is `done`.

    `matches` have StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, SOPClassUID and perhaps PatientID, sorted by series.
    `known` returns the SOPInstanceUIDs that the index has. At most AT_ONCE matches are held in memory.
    """
    for (study, series), members in groupby(matches, key=itemgetter("StudyInstanceUID", "SeriesInstanceUID")):
        seen = set[str]()
        while some := [*islice(members, AT_ONCE)]:
            found = {
                match["SOPInstanceUID"]: Series(study, series, match["SOPClassUID"], match.get("PatientID", "")) for match in some
            }
            there = set(known([*found]))
            for uid, at in found.items():
                if uid not in seen:
                    yield Request(uid, b"", 0, 0, "", "", "", Reason.DONE if uid in there else None, series=at)
            seen |= found.keys()
