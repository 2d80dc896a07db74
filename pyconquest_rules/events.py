"""What a run tells while it goes on. Nobody prints inside: a renderer, or a test with `events.append`, takes these."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Walked:
    """A source was walked: how many of its files will be read."""

    source: str
    seen: int
    to_read: int


@dataclass(frozen=True, slots=True)
class FileTold:
    """The outcome of one file of a source: `indexed | unchanged | duplicate | rejected | skipped`, and why.

    The reason of an indexed file is its notes (`headers.notes`). Unchanged files are reported only if every file is asked for.
    `path` is the whole path in the bytes of the file system.
    """

    path: bytes
    outcome: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Planning:
    """An action is being planned; `steps` so far."""

    action: str
    steps: int


@dataclass(frozen=True, slots=True)
class BroughtAlong:
    """The set of an action brings along instances whose PatientID is not that of the study or series that the set selects."""

    action: str
    instances: int

    @property
    def message(self) -> str:
        """What it means and how to see them; no value of a patient."""
        one = self.instances == 1
        have, whose = ("instance has", "its") if one else ("instances have", "their")
        what = f"{self.instances:,} selected {have} another PatientID than {whose} study or series"
        return f'{what}; to see them: pyconquest-rules query "select * from contradictions"'


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins: its number in the ledger, and what it has to do."""

    run: int
    steps: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step was done, durably, and is in the ledger. `warning` is what a node said of an instance that it took."""

    action: str
    SOPInstanceUID: str
    bytes: int
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step was not done; the message holds no value of a patient.

    The SOPInstanceUID is "" where an action could not be planned, because its node does not say what it has.
    """

    action: str
    SOPInstanceUID: str
    message: str


@dataclass(frozen=True, slots=True)
class NodeNoted:
    """A node did something odd that failed no step, or something of it was refused here; the message holds no value of a patient.

    The action is "" if none asked the node.
    """

    action: str
    message: str


@dataclass(frozen=True, slots=True)
class StepsWait:
    """So many steps of an action are left for a later run, and why; that is no failure."""

    action: str
    steps: int
    why: str


@dataclass(frozen=True, slots=True)
class Listens:
    """A listener of the rules listens: as which AE title, and where."""

    listener: str
    ae_title: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Healthy:
    """What a listener did so far: counts of associations, of instances and of bytes."""

    listener: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Ran:
    """Actions ran after something had come: counts of their steps."""

    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class InstanceRefused:
    """A listener refused an instance: when, which, the status that it answered, and why; who sent it, from which address.

    The SOPInstanceUID is "" if it is not valid. No text holds a value of a patient.
    """

    time: str
    SOPInstanceUID: str
    status: int
    reason: str
    calling_ae_title: str
    address: str


@dataclass(frozen=True, slots=True)
class InstanceNoted:
    """A listener kept an instance, and something about it is odd."""

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
    """The actions after something had come did not do all that they should, and why; they run again after so many seconds."""

    listener: str
    reason: str
    seconds: float


FromListener = InstanceRefused | InstanceNoted | PeerRefused

Event = (
    Walked
    | FileTold
    | Planning
    | BroughtAlong
    | RunStarted
    | StepDone
    | StepFailed
    | NodeNoted
    | StepsWait
    | Listens
    | Healthy
    | Ran
    | ThenWaits
    | FromListener
)
Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """Tells nobody."""
