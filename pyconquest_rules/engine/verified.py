"""What `verify` finds at destinations."""

from dataclasses import dataclass
from enum import StrEnum

from pyconquest_rules.content import Stamp


class Finding(StrEnum):
    """The state of a destination."""

    OK = "ok"
    MISSING = "missing"
    CHANGED = "changed"
    EXTRA = "extra"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Verified:
    """A destination and its state. `rotten`: its bytes changed, but neither its size nor its mtime.

    `there` is the stamp of a changed file.
    """

    destination: str
    finding: Finding
    rotten: bool = False
    there: Stamp | None = None
