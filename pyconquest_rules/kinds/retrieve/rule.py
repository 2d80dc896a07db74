"""`[retrieve.NAME]`: brings what a node has, and the index lacks, into a source."""

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
    """How instances come: on the association on which they are asked for, or on others, to a listener of ours."""

    GET = "get"
    MOVE = "move"


class Retrieve(Table):
    """Brings what a node has of patients, studies, series or images, and the index lacks, into a source with a layout."""

    node: Annotated[NodeName, Field(description="The node that has them.")]
    level: Annotated[Level, Field(description="What is asked for, each as a whole: a patient, study, series or image.")]
    match: Annotated[
        dict[str, Match],
        Field(
            min_length=1,
            description=(
                "What they must be: DICOM keywords with a value, a wild card, a range or a list; {{ vars.NAME }} may be used. "
                "For a date also { last_days = 7 }: the day of the run and the 7 days before."
            ),
        ),
    ]
    into: Annotated[SourceName, Field(description="The source that instances are put into. It must have a layout.")]
    by: Annotated[By, Field(description="How they come: by C-GET, or by C-MOVE to a listener of these rules.")] = By.GET
    listener: Annotated[
        ListenerName | None, Field(description="For C-MOVE: the listener, whose AE title the node knows as a destination.")
    ] = None
    needs: Annotated[
        tuple[ActionName, ...], Field(description='Actions that must have gone well before this one: "retrieve.NAME".')
    ] = ()
    tags: Annotated[tuple[str, ...], Field(description="Words by which this action can be chosen: `apply tag:nightly`.")] = ()

    @property
    def fingerprint(self) -> str:
        """Of what decides how and where to instances come; which they are is the identity of the steps."""
        kind = {"kind": "retrieve", "into": self.into, "by": self.by, "listener": self.listener}
        return sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()


def check(retrieve: Retrieve, place: Path, seen: Seen) -> Iterator[Problem]:
    """Yield what is wrong with the keys, with what comes before, and with the way by which instances come."""
    for keyword, value in retrieve.match.items():
        yield from _match_problems((*place, "match", keyword), keyword, value, retrieve.level, seen)
    for number, needed in enumerate(retrieve.needs):
        if needed.partition(".")[0] in seen.acting - {place[0]}:
            message, hint = "what is retrieved comes before all else", "it can need retrieve.NAME alone"
            yield seen.places.at_value((*place, "needs", number), message, hint)
    if retrieve.listener is not None and retrieve.by is not By.MOVE:
        message, hint = "a listener is for C-MOVE", 'add by = "move", or leave it out'
        yield seen.places.at_value((*place, "listener"), message, hint)
    elif retrieve.listener is not None:
        if listen := seen.tables["listen"].get(retrieve.listener):
            yield from _listener_problems((*place, "listener"), listen, retrieve, seen)
    elif retrieve.by is By.MOVE:
        hint = f"listeners are: {', '.join(seen.places.names('listen')) or 'none'}"
        yield seen.places.at_value((*place, "by"), 'C-MOVE needs a "listener"', hint)


def _match_problems(place: Path, keyword: str, value: Match, level: Level, seen: Seen) -> Iterator[Problem]:
    """What is wrong with an attribute, or with what it must be."""
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
    """Why a listener does not take what a node is to move to it."""
    node = seen.tables["nodes"].get(retrieve.node)
    calling = node.ae_title if node is not None else None
    if listen.into != retrieve.into:
        message, hint = f'the listener "{retrieve.listener}" puts into another source', f'it has into = "{listen.into}"'
    elif listen.port == 0:
        message, hint = f'the listener "{retrieve.listener}" has no port of its own', "a node must know its port: give it one"
    elif listen.allow and calling is not None and calling not in listen.allow:
        message, hint = f'the listener "{retrieve.listener}" does not let the node in', f'add to its allow: "{calling}"'
    else:
        return
    yield seen.places.at_value(place, message, hint)


def bound(retrieve: Retrieve, params: Mapping[str, str]) -> Retrieve:
    """Return the action with the values of variables in what it asks for."""
    match = {key: value if isinstance(value, LastDays) else with_vars(value, params) for key, value in retrieve.match.items()}
    return retrieve.model_copy(update={"match": match})


def retrieve_requests(matches: Iterable[Mapping[str, str]], known: Callable[[list[str]], Iterable[str]]) -> Iterator[Request]:
    """One request for each instance that a node says it has, series by series; done is what the index has already.

    `matches` have StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, SOPClassUID, perhaps PatientID; those of a series
    follow each other.
    `known` gives, of SOPInstanceUIDs, those that the index has. So many are held at a time as AT_ONCE says.
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
