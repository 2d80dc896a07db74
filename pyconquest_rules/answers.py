"""What the use cases answer, for a renderer to show."""

from dataclasses import dataclass

from pyconquest_rules.steps import Step


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
    """What was forgotten: instances and files, how many files were deleted, and how many could not be."""

    images: int
    files: int
    deleted: int
    failed: int


@dataclass(frozen=True, slots=True)
class Explained:
    """All that is said of one instance: its file, the sets that hold it, and what each action makes of it."""

    SOPInstanceUID: str
    source: bytes
    sets: tuple[str, ...]
    steps: tuple[Step, ...]
