"""Which file counts: a total order of files, so that an index depends on the files and the rules, never on what came first."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class OnConflict(StrEnum):
    """Which of several files with one SOPInstanceUID and other bytes counts, and whether the others are trouble."""

    ERROR = "error"
    FIRST_SOURCE = "first-source"
    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class Order:
    """How files are ordered: by their source in the rules, then by path; for `newest` the file that changed last comes first.

    `base` is the folder of the rules file, whose state folder has the decisions; without it there are none. `rules` is the rules
    file to which the index belongs.
    """

    on_conflict: OnConflict = OnConflict.ERROR
    sources: tuple[str, ...] = ()
    base: Path | None = None
    rules: Path | None = None

    def rank(self, name: str, device: str) -> int:
        """The number of a source. Sources that the rules no longer name come last."""
        return self.sources.index(name) if name in self.sources else len(self.sources) + int(device[3:])


NO_ORDER = Order()
