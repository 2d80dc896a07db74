"""What is known of the world: what stands at a path."""

from enum import StrEnum
from typing import NamedTuple

from pyconquest_rules.content import Stamp


class Kind(StrEnum):
    """What stands at a path."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


class Gone(StrEnum):
    """Why no file can be in the folder of an output."""

    MISSING = "there is no such folder"
    EMPTY = "the folder is empty"
    UNREADABLE = "the folder cannot be read"


class Entry(NamedTuple):
    """What a folder holds under one name."""

    name: str
    kind: Kind
    stamp: Stamp
