"""What is known of the world: what stands at a path, and what the ledger says of it."""

from dataclasses import dataclass
from enum import StrEnum

from pyconquest_rules.steps import Stamp


class Kind(StrEnum):
    """What stands at a path."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a folder holds under one name."""

    name: str
    kind: Kind
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the ledger says of a destination: what was put there last, from what, and how it was left."""

    destination: str
    SOPInstanceUID: str
    source: bytes
    source_stamp: Stamp
    fingerprint: str
    stamp: Stamp
