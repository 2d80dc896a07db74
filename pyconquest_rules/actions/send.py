"""`[send.NAME]`: sends the files of a set to a node."""

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from hashlib import sha256
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pyconquest_rules.steps import Selected, Wish


class Confirm(StrEnum):
    """When an instance counts as there: by the status of its C-STORE, or once the node also finds it, or commits to keep it."""

    STATUS = "status"
    C_FIND = "c-find"


class Send(BaseModel):
    """Sends every instance of a set to a node by C-STORE, as it is in its file; never again what the node said it has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    select: Annotated[str, Field(description="The set whose instances are sent.")]
    node: Annotated[str, Field(description="The node that they are sent to.")]
    confirm: Annotated[
        Confirm,
        Field(description="When an instance counts as there: `status`, its answer; `c-find`, once the node finds it too."),
    ] = Confirm.STATUS
    associations: Annotated[int, Field(strict=True, ge=1, le=16, description="How many associations send at the same time.")] = 1
    max_rate: Annotated[
        int | None, Field(strict=True, ge=1024, description="At most so many bytes a second, over all associations.")
    ] = None
    needs: Annotated[tuple[str, ...], Field(description='Actions that must have gone well before this one, as "copy.NAME".')] = ()
    tags: Annotated[tuple[str, ...], Field(description="Words by which this action can be chosen: `apply tag:nightly`.")] = ()

    @property
    def fingerprint(self) -> str:
        """Of what decides what is sent; where to is the identity of a step, not part of it."""
        return sha256(json.dumps({"kind": "send"}).encode()).hexdigest()


def send_wishes(instances: Iterable[Selected]) -> Iterator[Wish]:
    """One wish for each row that the set's query gave for an instance, in the order of the instances."""
    for uid, source, size, mtime_ns in instances:
        yield Wish(uid, source, size, mtime_ns, "", "", "")
