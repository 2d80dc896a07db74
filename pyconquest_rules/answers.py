"""The answers of the use cases, for a renderer to show."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyconquest_rules.steps import Step


def size(number: float) -> str:
    """Return a number of bytes as text, in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


@dataclass(frozen=True, slots=True)
class Vanished:
    """An output that lost most of its files in the ledger: `gone` of `known`; `why` is the reason, if known."""

    output: str
    gone: int
    known: int
    why: str | None = None

    @property
    def message(self) -> str:
        """The message for the user, with what to do."""
        why = f" ({self.why})" if self.why else ""
        what = f"{self.gone:,} of {self.known:,} files that were written there are gone{why}"
        return f"output {self.output}: {what}; mount the disk, or use --allow-vanish if they are gone for good"


@dataclass(frozen=True, slots=True)
class NoRoom:
    """An output whose file system has only `free` of the `needed` bytes."""

    output: str
    needed: int
    free: int

    @property
    def message(self) -> str:
        """The message for the user, with what to do."""
        what = f"{size(self.needed)} are to be written, but only {size(self.free)} are free"
        return f"output {self.output}: {what}; free some space, or select fewer actions"


@dataclass(frozen=True, slots=True)
class Asserted:
    """The result of an assertion about the data: the number of rows that should not be there, of which `most` are allowed.

    `severe`: it fails if there are more, and then `holds` are the actions that it holds back. `first` are the first rows, which
    may have patient data. `what` is the name of a row in the message.
    """

    name: str
    rows: int
    most: int
    severe: bool
    holds: tuple[str, ...]
    columns: tuple[str, ...]
    first: tuple[tuple[str | int | float | None, ...], ...]
    what: str

    @property
    def exceeded(self) -> bool:
        """Whether there are more rows than allowed."""
        return self.rows > self.most

    @property
    def failed(self) -> bool:
        """Whether actions are held back."""
        return self.severe and self.exceeded

    @property
    def message(self) -> str:
        """The message for the user, without patient data."""
        noun, _, more = self.what.partition(" ")
        allowed = f", {self.most:,} allowed" if self.most else ""
        return f"{self.name} has {self.rows:,} {noun}{'' if self.rows == 1 else 's'} {more}{allowed}"


Finding = Vanished | NoRoom
"""A finding about a plan as a whole. A plan with `Vanished` is not carried out."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Files that should be DICOM but could not be indexed, by reason: `standing` ones, and those `accepted` by the rules.

    Files that are not DICOM are in neither.
    """

    standing: dict[str, int]
    accepted: dict[str, int]

    def __bool__(self) -> bool:
        """Whether any are not accepted."""
        return bool(self.standing)


@dataclass(frozen=True, slots=True)
class Indexed:
    """The result of an update of the index: counts of files, reasons of files that are not indexed, and notes.

    Notes are oddities of indexed files. `refusals` cover all files of the index, not only this run.
    """

    counts: dict[str, int]
    reasons: dict[str, int]
    notes: dict[str, int]
    contradictions: dict[str, int]
    refusals: Refusals


@dataclass(frozen=True, slots=True)
class ActionStatus:
    """The state of an action: steps done, due, blocked and failed, and the time of the last one."""

    action: str
    done: int
    due: int
    blocked: int
    failed: int
    last: str | None


@dataclass(frozen=True, slots=True)
class Going:
    """The numbers of patients, studies, series, images and files that would be forgotten."""

    patients: int
    studies: int
    series: int
    images: int
    files: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The numbers of forgotten instances and files, deleted files, files that could not be deleted, and deleted folders."""

    images: int
    files: int
    deleted: int
    failed: int
    folders: int = 0


@dataclass(frozen=True, slots=True)
class NotIn:
    """A set that does not have an instance, and the instance's values in the columns that the SQL of the set names."""

    name: str
    has: Mapping[str, str | int | float | None]


@dataclass(frozen=True, slots=True)
class Partner:
    """The cause of a blocked step: another step, or the file that the ledger has at the destination."""

    action: str
    SOPInstanceUID: str
    source: bytes
    destination: str


@dataclass(frozen=True, slots=True)
class ExplainedStep:
    """The step of an action for an instance. `partners` are the first that block it; `others` counts the rest.

    `member` is the name of the instance in a file that is made of many.
    """

    step: Step
    partners: tuple[Partner, ...] = ()
    others: int = 0
    member: str | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """One instance: its file, the sets that have it, the sets that do not, and its step in each action."""

    SOPInstanceUID: str
    source: bytes
    sets: tuple[str, ...]
    not_in: tuple[NotIn, ...]
    steps: tuple[ExplainedStep, ...]
