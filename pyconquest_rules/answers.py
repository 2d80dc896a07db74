"""What the use cases answer, for a renderer to show."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyconquest_rules.steps import Step


def size(number: float) -> str:
    """A number of bytes for people, in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


@dataclass(frozen=True, slots=True)
class Vanished:
    """An output from which most of the files that the ledger knows are gone: `gone` of `known`, perhaps for a known reason."""

    output: str
    gone: int
    known: int
    why: str | None = None

    @property
    def message(self) -> str:
        """What it means, and the way out."""
        why = f" ({self.why})" if self.why else ""
        what = f"{self.gone:,} of {self.known:,} files that were put there are gone{why}"
        return f"output {self.output}: {what}; mount the disk, or say --allow-vanish if they are gone for good"


@dataclass(frozen=True, slots=True)
class NoRoom:
    """An output on whose file system what is planned does not fit: `needed` bytes are to be written, `free` are free."""

    output: str
    needed: int
    free: int

    @property
    def message(self) -> str:
        """What it means, and the way out."""
        what = f"{size(self.needed)} are to be written, and {size(self.free)} are free"
        return f"output {self.output}: {what}; make room, or choose fewer actions"


Finding = Vanished | NoRoom
"""What speaks against a plan as a whole. Of one with `Vanished` nothing is done."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Files that are DICOM, or were to be, but could not be indexed, by reason: those that nobody dealt with, and those accepted.

    What is not DICOM at all does no harm and is in neither.
    """

    standing: dict[str, int]
    accepted: dict[str, int]

    def __bool__(self) -> bool:
        """Whether somebody must deal with any."""
        return bool(self.standing)


@dataclass(frozen=True, slots=True)
class Indexed:
    """What bringing an index up to date came to: counts of files, of the reasons of those that are not in it, and of notes.

    Notes are oddities of files that were indexed. `refusals` are of all files of the index, not of this run alone.
    """

    counts: dict[str, int]
    reasons: dict[str, int]
    notes: dict[str, int]
    contradictions: dict[str, int]
    refusals: Refusals


@dataclass(frozen=True, slots=True)
class ActionStatus:
    """Where an action stands: steps done and due, blocked and failed, and when the last one was done."""

    action: str
    done: int
    due: int
    blocked: int
    failed: int
    last: str | None


@dataclass(frozen=True, slots=True)
class Going:
    """What would be forgotten: numbers of patients, studies, series and images that instances go from, and of their files."""

    patients: int
    studies: int
    series: int
    images: int
    files: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten: instances and files, how many files were deleted, how many could not be, and deleted empty folders."""

    images: int
    files: int
    deleted: int
    failed: int
    folders: int = 0


@dataclass(frozen=True, slots=True)
class NotIn:
    """A set that does not hold an instance, and what the row of the instance has in the columns that the set's SQL names."""

    name: str
    has: Mapping[str, str | int | float | None]


@dataclass(frozen=True, slots=True)
class Partner:
    """What a step is blocked by: another step, or what the ledger knows at the destination; the instance and its file."""

    action: str
    SOPInstanceUID: str
    source: bytes
    destination: str


@dataclass(frozen=True, slots=True)
class ExplainedStep:
    """What an action makes of an instance. `partners` are the first that block it, `others` is how many more do."""

    step: Step
    partners: tuple[Partner, ...] = ()
    others: int = 0


@dataclass(frozen=True, slots=True)
class Explained:
    """All about one instance: its file, the sets that hold it, those that do not, and what each action makes of it."""

    SOPInstanceUID: str
    source: bytes
    sets: tuple[str, ...]
    not_in: tuple[NotIn, ...]
    steps: tuple[ExplainedStep, ...]
