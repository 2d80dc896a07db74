"""The total order of files. With it, the index depends only on the files and the rules, not on the order of arrival."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class OnConflict(StrEnum):
    """Which of several files with one SOPInstanceUID but different bytes is indexed, and whether the others are errors."""

    ERROR = "error"
    FIRST_SOURCE = "first-source"
    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class Order:
    """How files are ordered: by source as in the rules, then by path. With `newest`, the file that changed last comes first.

    `base` is the folder of the rules file, whose state folder has the decisions. Without it there are no decisions. `rules` is
    the rules file to which the index belongs.
    """

    on_conflict: OnConflict = OnConflict.ERROR
    sources: tuple[str, ...] = ()
    base: Path | None = None
    rules: Path | None = None

    def rank(self, name: str, device: str) -> int:
        """Return the number of a source. Sources that the rules no longer have come last."""
        return self.sources.index(name) if name in self.sources else len(self.sources) + int(device[3:])


NO_ORDER = Order()
