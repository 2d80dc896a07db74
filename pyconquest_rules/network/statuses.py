"""The statuses of DIMSE responses (PS3.7 C): their kinds, their words, and which mean that an instance was stored."""

from collections.abc import Mapping
from enum import Enum, IntEnum


class Status(IntEnum):
    """The statuses that we answer with (PS3.4 B.2.3, PS3.4 J, PS3.7 C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_INSTANCE = 0x0112
    NO_SUCH_EVENT = 0x0113
    INVALID_ARGUMENT = 0x0115
    INVALID_SOP_INSTANCE = 0x0117
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORIZED = 0x0124
    UNRECOGNIZED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class Kind(Enum):
    """The five kinds of status (PS3.7 C.1)."""

    SUCCESS = "success"
    PENDING = "pending"
    WARNING = "warning"
    CANCEL = "cancel"
    FAILURE = "failure"


WARNINGS = {0x0001, 0x0107, 0x0116}
"""Warnings other than Bxxx (PS3.7 C.1.3)."""

GENERAL: Mapping[int, str] = {
    0x0001: "requested optional attributes are not supported",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0113: "no such event type",
    0x0114: "no such argument",
    0x0115: "invalid argument value",
    0x0116: "attribute value out of range",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0123: "no such action type",
    0x0124: "not authorized",
    0x0131: "duplicate transaction UID",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xFE00: "canceled",
}
"""Statuses of every service (PS3.7 C)."""

STORE: Mapping[int, str] = {
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
}
"""Statuses of C-STORE (PS3.4 B.2.3)."""

FIND: Mapping[int, str] = {
    0xA710: "invalid prior record key",
    0xB001: "matching reached the node's limit of responses",
}
"""Statuses of C-FIND (PS3.4 C.4.1.1.4)."""

RETRIEVE: Mapping[int, str] = {
    0xA701: "out of resources: unable to calculate the number of matches",
    0xA702: "out of resources: unable to perform sub-operations",
    0xA801: "move destination unknown",
    0xAA00: "none of the frames requested were found",
    0xAA01: "unable to create a new object for this SOP class",
    0xAA02: "unable to extract frames",
    0xAA03: "the SOP instance has no time base",
    0xAA04: "invalid request",
    0xB000: "sub-operations complete, one or more failures or warnings",
}
"""Statuses of C-MOVE and C-GET (PS3.4 C.4.2.1.5, C.4.3.1.4)."""


def kind(status: int) -> Kind:
    """Return the kind of a status (PS3.7 C.1)."""
    if status == Status.SUCCESS:
        return Kind.SUCCESS
    if status in (0xFF00, 0xFF01):
        return Kind.PENDING
    if status == 0xFE00:
        return Kind.CANCEL
    return Kind.WARNING if status >> 12 == 0xB or status in WARNINGS else Kind.FAILURE


def is_stored(status: int) -> bool:
    """Return whether an instance was stored: success, or any warning (PS3.4 B.2.3, PS3.7 C.1.3)."""
    return kind(status) in (Kind.SUCCESS, Kind.WARNING)


def is_transient(status: int) -> bool:
    """Return whether the same request may succeed later, because the node lacked resources (A7xx, 0213)."""
    return status >> 8 == 0xA7 or status == 0x0213


def words(status: int, service: Mapping[int, str]) -> str:
    """Return a status in words. `service` has the words of the service, which precede the general ones."""
    known = service.get(status) or GENERAL.get(status)
    match status >> 8:
        case _ if known:
            return known
        case 0xA7:
            return "out of resources"
        case 0xA8 if service is RETRIEVE:
            return "move destination unknown"
        case 0xA9:
            return "identifier does not match SOP class" if service is not STORE else "data set does not match SOP class"
        case high if high >> 4 == 0xC:
            return "cannot understand" if service is STORE else "unable to process"
    return {Kind.WARNING: "warning", Kind.FAILURE: "failure"}.get(kind(status), kind(status).value)
