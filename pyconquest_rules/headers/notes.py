"""What is odd about a file that is indexed all the same."""

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
    """The notes of a file as one reason: each once, in the order of the alphabet, joined by commas; None without any."""
    return ",".join(sorted(set(notes))) or None


def notes(reason: str | None) -> list[str]:
    """The notes of a reason that `reason` made."""
    return reason.split(",") if reason else []
