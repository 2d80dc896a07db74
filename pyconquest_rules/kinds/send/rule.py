"""`[send.NAME]`: sends the files of a set to a node."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import time
from enum import StrEnum
from hashlib import sha256
from operator import itemgetter
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from pyconquest_rules.rules.fields import ActionName, NodeName, SetName, Table, like
from pyconquest_rules.steps import Request, Selected


class Confirm(StrEnum):
    """When an instance counts as there: by the status of its C-STORE, or once the node also finds it, or commits to keep it."""

    STATUS = "status"
    C_FIND = "c-find"
    STORAGE_COMMITMENT = "storage-commitment"


class Transcode(StrEnum):
    """Whether an instance may be sent in another transfer syntax than its file has."""

    VR = "vr"
    NONE = "none"


WINDOW = r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]-(?:[01][0-9]|2[0-3]):[0-5][0-9]$"
"""Two times of a day."""

Window = Annotated[
    str,
    AfterValidator(like(WINDOW, "is no time of day", 'write it as "22:00-06:00", from 00:00 to 23:59')),
    WithJsonSchema({"type": "string", "pattern": WINDOW}),
]


class Send(Table):
    """Send every instance of a set to a node by C-STORE; never again an instance that the node has acknowledged."""

    select: Annotated[SetName, Field(description="The set whose instances are sent.")]
    node: Annotated[NodeName, Field(description="The node that they are sent to.")]
    confirm: Annotated[
        Confirm,
        Field(
            description="When an instance counts as there: `status`, its answer; `c-find`, once the node finds it too;"
            " `storage-commitment`, once the node commits itself to keep it."
        ),
    ] = Confirm.STATUS
    associations: Annotated[int, Field(strict=True, ge=1, le=16, description="How many associations send at the same time.")] = 1
    max_rate: Annotated[
        int | None, Field(strict=True, ge=1024, description="At most so many bytes a second, over all associations.")
    ] = None
    window: Annotated[
        Window | None,
        Field(description='The time of day at which may be sent, as "22:00-06:00"; always if left out.'),
    ] = None
    transcode: Annotated[
        Transcode,
        Field(
            description="`vr`: if the node takes only the other of implicit and explicit VR little endian, the instance is"
            " converted; no value changes. `none`: every instance goes in the transfer syntax of its file."
        ),
    ] = Transcode.VR
    needs: Annotated[
        tuple[ActionName, ...], Field(description='Actions that must have gone well before this one, as "copy.NAME".')
    ] = ()
    tags: Annotated[tuple[str, ...], Field(description="Words by which this action can be chosen: `apply tag:nightly`.")] = ()

    def is_open(self, now: time) -> bool:
        """Whether may be sent at a time of the day. A window may pass midnight; its end is outside."""
        if self.window is None:
            return True
        start, end = map(time.fromisoformat, self.window.split("-"))
        return start <= now < end if start < end else now >= start or now < end

    @property
    def fingerprint(self) -> str:
        """Of what decides what is sent; where to is the identity of a step, not part of it."""
        return sha256(json.dumps({"kind": "send"}).encode()).hexdigest()


def send_requests(instances: Iterable[Selected], failed: Mapping[str, int]) -> Iterator[Request]:
    """Yield one request for each row that the set's query gave for an instance, in the order of the instances.

    `failed` are those that failed before, with the last run in which they were tried. They come last, the longest ago first, so
    that no instance can keep another from its turn.
    """
    last = list[tuple[int, Request]]()
    for uid, source, size, mtime_ns in instances:
        request = Request(uid, source, size, mtime_ns, "", "", "")
        if uid in failed:
            last.append((failed[uid], request))
        else:
            yield request
    yield from (request for _, request in sorted(last, key=itemgetter(0)))
