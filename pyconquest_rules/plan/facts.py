"""What a plan asks of the world. Who answers is not its business."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from pyconquest_rules.facts import Entry, Recorded
from pyconquest_rules.steps import Mode


class Facts(Protocol):
    """The ledger, and the disk below `outputs`."""

    def recorded(self) -> Iterable[Recorded]:
        """Every destination that was done and not undone since."""

    def failed(self) -> Iterable[str]:
        """The destinations of steps that failed in their last run."""

    def listing(self, folder: str) -> Iterator[Entry]:
        """What a folder, named as destinations are, holds; nothing where there is no folder. Links are not followed."""

    def is_made(self, mode: Mode, source: bytes, destination: str) -> bool:
        """Whether what stands at a destination is what the step would make of its source: read and compared byte by byte."""
