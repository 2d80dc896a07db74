"""`[retrieve.NAME]`: brings what a node has, and the index lacks, into a source."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from hashlib import sha256
from itertools import groupby, islice
from operator import itemgetter
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pyconquest_rules.dicom import Level
from pyconquest_rules.kinds.retrieve.matching import Match
from pyconquest_rules.steps import Reason, Series, Wish

AT_ONCE = 1000


class By(StrEnum):
    """How instances come: on the association on which they are asked for, or on others, to a listener of ours."""

    GET = "get"
    MOVE = "move"


class Retrieve(BaseModel):
    """Brings what a node has of patients, studies, series or images, and the index lacks, into a source with a layout."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    node: Annotated[str, Field(description="The node that has them.")]
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
    into: Annotated[str, Field(description="The source that instances are put into. It must have a layout.")]
    by: Annotated[By, Field(description="How they come: by C-GET, or by C-MOVE to a listener of these rules.")] = By.GET
    listener: Annotated[
        str | None, Field(description="For C-MOVE: the listener, whose AE title the node knows as a destination.")
    ] = None
    needs: Annotated[
        tuple[str, ...], Field(description='Actions that must have gone well before this one: "retrieve.NAME".')
    ] = ()
    tags: Annotated[tuple[str, ...], Field(description="Words by which this action can be chosen: `apply tag:nightly`.")] = ()

    @property
    def fingerprint(self) -> str:
        """Of what decides how and where to instances come; which they are is the identity of the steps."""
        kind = {"kind": "retrieve", "into": self.into, "by": self.by, "listener": self.listener}
        return sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()


def retrieve_wishes(matches: Iterable[Mapping[str, str]], known: Callable[[list[str]], Iterable[str]]) -> Iterator[Wish]:
    """One wish for each instance that a node says it has, series by series; done is what the index has already.

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
                    yield Wish(uid, b"", 0, 0, "", "", "", Reason.DONE if uid in there else None, series=at)
            seen |= found.keys()
