"""What the use cases answer, for a renderer to show."""

from dataclasses import dataclass

from pyconquest_rules.steps import Step


@dataclass(frozen=True, slots=True)
class Indexed:
    """What bringing an index up to date came to: counts of files, of the reasons of those that are not in it, and of notes.

    Notes are oddities of files that were indexed.
    """

    counts: dict[str, int]
    reasons: dict[str, int]
    notes: dict[str, int]
    contradictions: dict[str, int]

    @property
    def refused(self) -> int:
        """Files that are DICOM, or were to be, but could not be indexed. What is not DICOM at all does no harm."""
        return self.counts["rejected"] - self.reasons.get("not-dicom", 0)

    @property
    def unread(self) -> int:
        """Files and folders that may be right, but could not be read this time; the next run tries again."""
        return self.reasons.get("unreadable", 0) + self.reasons.get("reader-killed", 0)


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
class Explained:
    """All that is said of one instance: its file, the sets that hold it, and what each action makes of it."""

    SOPInstanceUID: str
    source: bytes
    sets: tuple[str, ...]
    steps: tuple[Step, ...]
