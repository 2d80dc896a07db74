"""The atoms a plan is made of: what an action wishes, and the step that becomes of the wish."""

import json
import os
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, ClassVar, NamedTuple

# What a column of SQLite holds.
EARLIEST, LATEST = -(2**63), 2**63 - 1


class Mode(StrEnum):
    """How a file comes to its destination."""

    COPY = "copy"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    REFLINK = "reflink"
    MOVE = "move"

    @property
    def fingerprint(self) -> str:
        """Of a copy that is made so: what decides the content of the destination."""
        return sha256(json.dumps({"kind": "copy", "mode": self}, sort_keys=True).encode()).hexdigest()


class OnConflict(StrEnum):
    """What becomes of a step whose destination holds other content that is not ours."""

    ERROR = "error"
    SKIP = "skip"
    OVERWRITE = "overwrite"
    RENAME = "rename"


class OnChanged(StrEnum):
    """What becomes of a step whose destination somebody changed since the step was done."""

    ERROR = "error"
    RESTORE = "restore"


class Status(StrEnum):
    """What a plan says of a step."""

    TODO = "todo"
    UNCHANGED = "unchanged"
    BLOCKED = "blocked"


class Reason(StrEnum):
    """Why a step is todo, unchanged or blocked."""

    NEW = "new"
    SOURCE_CHANGED = "source-changed"
    RULE_CHANGED = "rule-changed"
    DESTINATION_MISSING = "destination-missing"
    DESTINATION_CHANGED = "destination-changed"
    ADOPT = "adopt"
    RETRY = "retry"
    DONE = "done"
    UNCONFIRMED = "unconfirmed"
    PRUNE = "prune"
    CONFLICT = "conflict"
    COLLISION = "collision"
    MISSING_VALUE = "missing-value"
    BAD_VALUE = "bad-value"
    UNSAFE_PATH = "unsafe-path"
    NODE_FAILED = "node-failed"
    NEEDS = "needs"


class Stamp(NamedTuple):
    """By what a file is known again without reading it: size in bytes, mtime in nanoseconds."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        """Return the stamp of a file, with an mtime that SQLite can hold: a file system may have one far after 2262."""
        return cls(status.st_size, min(max(EARLIEST, status.st_mtime_ns), LATEST))


# An instance that a set selects: SOPInstanceUID, path of its file, size, mtime_ns, and the values that were asked for.
Selected = tuple[Any, ...]


class Series(NamedTuple):
    """Where an instance is to be found at a node, its SOP class and its patient; "" where the node does not say."""

    StudyInstanceUID: str
    SeriesInstanceUID: str
    SOPClassUID: str
    PatientID: str = ""


class Wish(NamedTuple):
    """What an action wishes for one instance: a destination, or why it has none (`reason` and `message`).

    The destination is `folder` and `name` put together; `folder` counts from the folder of the rules file, or is absolute.
    `written` is the folder before it was made safe: two wishes with one folder but different `written` were meant to lie apart.
    What is to be retrieved has neither a source nor a destination yet, but a `series`.
    """

    SOPInstanceUID: str
    source: bytes
    size: int
    mtime_ns: int
    folder: str
    name: str
    written: str
    reason: Reason | None = None
    message: str | None = None
    series: Series | None = None


@dataclass(frozen=True, slots=True)
class PutFile:
    """Brings the bytes of `source` to `destination`.

    `there` is what the plan saw at the destination, which is replaced; None where nothing may stand.
    `adopt`: what stands there is already what would be put; it stays and is recorded.
    """

    mode: Mode
    source: bytes
    stamp: Stamp
    destination: str
    there: Stamp | None
    adopt: bool


@dataclass(frozen=True, slots=True)
class SendInstance:
    """Sends the instance in `source` to a node, named as AE title, host and port.

    `sent`: that was done already, and is only to be confirmed.
    """

    source: bytes
    stamp: Stamp
    destination: str
    sent: bool


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Removes what an action made of `source` at `destination`, and forgets it.

    `stamp` and `sha256` are how it was left: anything else stays. `forget`: nothing is removed, as nothing stands there any more,
    or as what stands there was not made but adopted.
    """

    source: bytes
    stamp: Stamp
    destination: str
    sha256: str
    forget: bool


@dataclass(frozen=True, slots=True)
class RetrieveInstance:
    """Brings an instance from a node, named as AE title, host and port, into the source that `destination` names.

    There is no file of it yet: `source` is empty, `stamp` nought.
    """

    source: ClassVar[bytes] = b""
    stamp: ClassVar[Stamp] = Stamp(0, 0)
    node: str
    series: Series
    destination: str


Operation = PutFile | SendInstance | RetrieveInstance | RemoveFile


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan. `operation` is what `apply` does where the status is todo."""

    number: int
    action: str
    SOPInstanceUID: str
    status: Status
    reason: Reason
    message: str | None
    fingerprint: str
    operation: Operation
