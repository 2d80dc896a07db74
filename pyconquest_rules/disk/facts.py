"""What exists at a path."""

from enum import StrEnum
from typing import NamedTuple

from pyconquest_rules.content import Stamp


class Kind(StrEnum):
    """What exists at a path."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


class Gone(StrEnum):
    """The reason why an output has no files."""

    MISSING = "there is no such folder"
    EMPTY = "the folder is empty"
    UNREADABLE = "the folder cannot be read"


class Entry(NamedTuple):
    """One entry of a folder."""

    name: str
    kind: Kind
    stamp: Stamp
