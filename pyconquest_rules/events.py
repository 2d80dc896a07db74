"""The events of a run. Use cases never print: a renderer, or a test with `events.append`, takes the events."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Walked:
    """A source was walked, and `to_read` of its files will be read."""

    source: str
    seen: int
    to_read: int


@dataclass(frozen=True, slots=True)
class FileTold:
    """The outcome of one file of a source: `indexed | unchanged | duplicate | rejected | skipped`, and the reason.

    The reason of an indexed file is its notes (`headers.notes`). Unchanged files are reported only on request.
    `path` is the full path in the bytes of the file system.
    """

    path: bytes
    outcome: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Planning:
    """An action is being planned and has `steps` so far."""

    action: str
    steps: int


@dataclass(frozen=True, slots=True)
class BroughtAlong:
    """The set of an action selects instances whose PatientID differs from that of their study or series."""

    action: str
    instances: int

    @property
    def message(self) -> str:
        """The message for the user, without patient data."""
        one = self.instances == 1
        have, whose = ("instance has", "its") if one else ("instances have", "their")
        what = f"{self.instances:,} selected {have} another PatientID than {whose} study or series"
        return f'{what}; to see them: pyconquest-rules query "select * from contradictions"'


@dataclass(frozen=True, slots=True)
class LittleRoom:
    """The plan needs more than the free space; `apply` copies what fits. The message has no patient data."""

    message: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins: its number in the ledger, its steps and bytes."""

    run: int
    steps: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step was done durably and is in the ledger. `warning` is the warning of the node that stored the instance."""

    action: str
    SOPInstanceUID: str
    bytes: int
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step failed; the message has no patient data.

    The SOPInstanceUID is "" if an action could not be planned because its node could not be queried.
    """

    action: str
    SOPInstanceUID: str
    message: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something unexpected that fails no step, such as an odd answer of a node; the message has no patient data.

    The action is "" if it is of no action.
    """

    action: str
    message: str


@dataclass(frozen=True, slots=True)
class SourceNoted:
    """A source is probably not the intended one; the message has no patient data."""

    source: str
    message: str


@dataclass(frozen=True, slots=True)
class StepsWait:
    """Steps of an action wait for a later run; this is not a failure."""

    action: str
    steps: int
    why: str


@dataclass(frozen=True, slots=True)
class Listens:
    """A listener of the rules listens under its AE title at an address."""

    listener: str
    ae_title: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Healthy:
    """The counts of a listener so far: associations, instances and bytes."""

    listener: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Ran:
    """The actions of `then` ran: counts of their steps."""

    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class InstanceRefused:
    """A listener refused an instance of a peer, with a status and a reason.

    The SOPInstanceUID is "" if it is not valid. No text has patient data.
    """

    time: str
    SOPInstanceUID: str
    status: int
    reason: str
    calling_ae_title: str
    address: str


@dataclass(frozen=True, slots=True)
class InstanceNoted:
    """A listener stored an instance with an oddity."""

    time: str
    SOPInstanceUID: str
    note: str
    calling_ae_title: str
    address: str


@dataclass(frozen=True, slots=True)
class PeerRefused:
    """A listener refused a peer something: a connection, an association, a presentation context or a commitment; or it aborted.

    `what` is `connection | association | context | commitment | abort`. The calling AE title is "" before it is known.
    """

    time: str
    what: str
    reason: str
    calling_ae_title: str
    address: str


@dataclass(frozen=True, slots=True)
class ThenWaits:
    """The actions of `then` did not complete; they run again after `seconds`."""

    listener: str
    reason: str
    seconds: float


FromListener = InstanceRefused | InstanceNoted | PeerRefused

Event = (
    Walked
    | FileTold
    | Planning
    | BroughtAlong
    | LittleRoom
    | RunStarted
    | StepDone
    | StepFailed
    | Noted
    | SourceNoted
    | StepsWait
    | Listens
    | Healthy
    | Ran
    | ThenWaits
    | FromListener
)
Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """Drop the event."""
