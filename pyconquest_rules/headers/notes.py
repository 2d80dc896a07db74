"""Oddities of files that are indexed nevertheless."""

from collections.abc import Iterable
from enum import StrEnum


class Note(StrEnum):
    """An oddity of a file that is indexed: the reason of an `indexed` file in the report of `index`."""

    UNREADABLE_VALUE = "unreadable-value"
    LONG_VALUE = "long-value"
    UNKNOWN_VR = "unknown-vr"
    MISSING_DELIMITER = "missing-delimiter"
    TRAILING_BYTES = "trailing-bytes"
    LONG_UID = "long-SOPInstanceUID"
    ODD_SEQUENCE = "odd-sequence"


def reason(notes: Iterable[Note | str]) -> str | None:
    """Return the notes of a file as one reason: each once, sorted, joined by commas; None if there are none."""
    return ",".join(sorted(set(notes))) or None


def notes(reason: str | None) -> list[str]:
    """Return the notes in a reason that `reason` returned."""
    return reason.split(",") if reason else []
