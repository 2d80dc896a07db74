"""The parts of a plan: what an action requests for an instance, and the step that results."""

import json
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, ClassVar, NamedTuple

from pyconquest_rules.content import Applied, Content, OfInstance, Stamp


class Mode(StrEnum):
    """How a copy creates its destination."""

    COPY = "copy"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    REFLINK = "reflink"
    MOVE = "move"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of a copy in this mode: everything that decides the content of the destination."""
        return sha256(json.dumps({"kind": "copy", "mode": self}, sort_keys=True).encode()).hexdigest()


class OnConflict(StrEnum):
    """What to do if the destination has other content that is not ours."""

    ERROR = "error"
    SKIP = "skip"
    OVERWRITE = "overwrite"
    RENAME = "rename"


class OnChanged(StrEnum):
    """What to do if somebody changed the destination after the step was done."""

    ERROR = "error"
    RESTORE = "restore"


class Status(StrEnum):
    """The status of a step in a plan."""

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
    IN_ARCHIVE = "in-archive"
    NODE_FAILED = "node-failed"
    NEEDS = "needs"
    EXPECTATION = "expectation"
    COMMAND = "command"


# An instance that a set selects: SOPInstanceUID, path of its file, size, mtime_ns, and the requested values.
Selected = tuple[Any, ...]


class Series(NamedTuple):
    """The study, series, SOP class and patient of an instance at a node; "" if the node does not report it."""

    StudyInstanceUID: str
    SeriesInstanceUID: str
    SOPClassUID: str
    PatientID: str = ""


class Request(NamedTuple):
    """A request of an action for one instance: a destination, or why it has none (`reason` and `message`).

    The destination is `folder` plus `name`. `folder` is absolute, or relative to the folder of the rules file.
    `written` is the folder before it was made safe. Two requests with equal `folder` but different `written` collide.
    A requested retrieval has no source and no destination yet, but a `series`. `applied` is the recipe that makes what is
    delivered; None if the bytes are delivered as they are. A file that is made of many instances has no SOPInstanceUID and no
    source: `applied` is an assembler, `parts` the number of the group of its parts, `size` and `mtime_ns` their stamp.
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
    applied: Applied | None = None
    parts: int = 0


class _OfContent:
    """The file that the content of an operation is of."""

    __slots__ = ()
    content: Content

    @property
    def source(self) -> bytes:
        """The file that the content is of."""
        return self.content.source

    @property
    def stamp(self) -> Stamp:
        """The stamp of that file."""
        return self.content.stamp


@dataclass(frozen=True, slots=True)
class PutFile(_OfContent):
    """Put a content at `destination`.

    `there` is the existing file that the plan saw and that is replaced; None if there must be no file.
    `adopt`: the existing file already has the requested bytes; it stays and is recorded.
    """

    mode: Mode
    content: Content
    destination: str
    there: Stamp | None
    adopt: bool


@dataclass(frozen=True, slots=True)
class SendInstance(_OfContent):
    """Send a content to a node, named by AE title, host and port.

    `sent`: the instance was already sent and only needs confirmation.
    """

    content: OfInstance
    destination: str
    sent: bool


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Delete the file that an action created from `source` at `destination`, and its ledger row.

    `stamp` and `sha256` are those of the created file; any other file stays. `forget`: only delete the row, because the
    file is gone or was adopted.
    """

    source: bytes
    stamp: Stamp
    destination: str
    sha256: str
    forget: bool


@dataclass(frozen=True, slots=True)
class RetrieveInstance:
    """Retrieve an instance from a node, named by AE title, host and port, into the source that `destination` names.

    It has no file yet: `source` is empty, `stamp` is zero.
    """

    source: ClassVar[bytes] = b""
    stamp: ClassVar[Stamp] = Stamp(0, 0)
    node: str
    series: Series
    destination: str


Operation = PutFile | SendInstance | RetrieveInstance | RemoveFile


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan. `apply` carries out its `operation` if the status is todo."""

    number: int
    action: str
    SOPInstanceUID: str
    status: Status
    reason: Reason
    message: str | None
    fingerprint: str
    operation: Operation

    @property
    def delivered_uid(self) -> str:
        """The SOPInstanceUID of what is delivered: that of the instance, unless a recipe replaces it."""
        match self.operation:
            case PutFile(content=content) | SendInstance(content=content):
                return content.uid(self.SOPInstanceUID)
        return self.SOPInstanceUID
