"""The data set of a file for sending: its position and size, and its actual transfer syntax.

Reading is tolerant, sending is strict. The sent data set is the one that the index reads, from its first element to its last.
A data set that does not conform to any transfer syntax is rejected before anything is sent.
"""

import os
import zlib
from dataclasses import dataclass
from struct import error
from typing import NamedTuple

from pyconquest_rules.headers.dataset import PIXEL_DATA
from pyconquest_rules.headers.elements import LONG_VRS, SHORT_VRS, UNDEFINED_LENGTH, WINDOW, WITHOUT_VR, Element, TooMany, Window
from pyconquest_rules.headers.header import SOP_CLASS, SOP_INSTANCE
from pyconquest_rules.headers.opening import DEFLATED, Reason, Rejected, opened
from pyconquest_rules.headers.scanning import LAST_DELIMITER, Encoding, encoding
from pyconquest_rules.headers.stepping import HEADS, LENGTHS, behind, head
from pyconquest_rules.headers.unknown_vrs import is_vr

IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
# In all other transfer syntaxes of the Standard, pixel data is encapsulated and all VRs are explicit.
NATIVE = frozenset({IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, DEFLATED})
OF_THE_STANDARD = "1.2.840.10008.1.2."

# The groups of commands and of file meta information, which are not allowed in a data set (PS3.5 7.1, PS3.10 7.1).
COMMAND, META = 0x0000, 0x0002

# How many consecutive elements are remembered together, if they are short, and limits on what is remembered.
RUN, LONGEST_RUN, MOST_RUNS = 8, 4096, 2000
IDENTITY = frozenset({SOP_CLASS & 0xFFFF, SOP_INSTANCE & 0xFFFF})

NOT_AS_DECLARED = "the data set is not encoded in its declared transfer syntax"
WORDS = {
    Reason.NOT_A_FILE: "not a regular file",
    Reason.UNREADABLE: "the file cannot be read",
    Reason.NOT_DICOM: "not a DICOM file",
    Reason.TOO_LARGE: "the data set is too large",
}
ENDS_EARLY = "the data set is truncated, or other bytes follow it"
STRAY_BYTES = "the data set is followed by bytes that are not a data element"
NO_END = "its encapsulated pixel data has no end"
IDENTIFIERS = {SOP_CLASS: "SOP Class UID", SOP_INSTANCE: "SOP Instance UID"}


class Unsendable(Exception):
    """A data set cannot be sent. The text has the reason, and no text of the file."""


@dataclass(frozen=True, slots=True)
class Sendable:
    """The data set of a file: its position and size, its actual transfer syntax, and its SOP class and instance UIDs."""

    start: int
    size: int
    syntax: str
    sop_class: str
    sop_instance: str


class _Walked(NamedTuple):
    """The end of a data set, its UIDs, and the length of its pixel data if it has any."""

    end: int
    uids: dict[int, str]
    pixels: int | None


Runs = dict[Encoding, dict[bytes, bytes]]
"""Consecutive elements of earlier data sets by encoding and first bytes. One comparison skips them in later data sets."""


def sendable(descriptor: int, runs: Runs) -> Sendable:
    """Return the data set of an open file, with its actual transfer syntax. Raises Unsendable.

    If the file declares an uncompressed transfer syntax or none, the bytes decide between implicit VR, explicit VR and big
    endian. Elements of group 0002 directly after the file meta information belong to it, whatever its group length is, so they
    are not sent. NULs after the last element are not sent either. `runs` remembers elements of other files. It only saves time.
    """
    try:
        window, start, sop_class, declared, _, offset = opened(descriptor)
        if window.size - start < 8:
            raise Unsendable("the file has no data set")
        written = encoding(window, start)
        syntax = _syntax(declared, written)
        walked = _walked(window, start, written, runs.setdefault(written, {}))
    except Rejected as rejected:
        raise Unsendable(WORDS.get(rejected.reason, ENDS_EARLY)) from None
    except TooMany:
        raise Unsendable("the data set has too many elements") from None
    except EOFError:
        raise Unsendable(ENDS_EARLY) from None
    except zlib.error:
        raise Unsendable(f"{NOT_AS_DECLARED}: it is not deflated") from None
    except OSError:
        raise Unsendable("the file cannot be read") from None
    if walked.pixels is not None and (syntax in NATIVE or syntax.startswith(OF_THE_STANDARD)):
        _check_pixels(walked.pixels, syntax)
    deflated = syntax == DEFLATED
    size = os.fstat(descriptor).st_size - offset if deflated else walked.end - start
    if size % 2 and not deflated:
        # Fragments have an even length (PS3.8 E.1). A peer aborts the association if it gets an odd one.
        raise Unsendable("the data set has an odd number of bytes, which cannot be sent")
    return Sendable(offset, size, syntax, walked.uids.get(SOP_CLASS) or sop_class, walked.uids.get(SOP_INSTANCE, ""))


def _syntax(declared: str, written: Encoding) -> str:
    """Return the actual transfer syntax of a data set. Raises Unsendable if a compressed one does not fit the encoding."""
    if written.implicit:
        found, words = IMPLICIT_VR_LITTLE_ENDIAN, "it has no explicit VRs"
    elif written.order == "big":
        found, words = EXPLICIT_VR_BIG_ENDIAN, "it is big endian"
    else:
        found, words = EXPLICIT_VR_LITTLE_ENDIAN, ""
    if declared in ("", IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN):
        return found
    if declared.startswith(OF_THE_STANDARD) and words:
        raise Unsendable(f"{NOT_AS_DECLARED}: {words}")
    return declared


def _check_pixels(length: int, syntax: str) -> None:
    """Raise Unsendable unless pixel data is encapsulated exactly if the transfer syntax compresses it (PS3.5 A.4)."""
    if syntax in NATIVE and length == UNDEFINED_LENGTH:
        raise Unsendable(f"{NOT_AS_DECLARED}: its pixel data is encapsulated")
    if syntax not in NATIVE and length not in (0, UNDEFINED_LENGTH):
        raise Unsendable(f"{NOT_AS_DECLARED}: its pixel data is not encapsulated")


def _walked(window: Window, start: int, written: Encoding, runs: dict[bytes, bytes]) -> _Walked:
    """Walk over the elements at the top of a data set. Raises Unsendable, EOFError, TooMany."""
    explicit, unpack, unpack_length = not written.implicit, HEADS[written.order], LENGTHS[written.order]
    short_vrs, long_vrs = (SHORT_VRS, LONG_VRS) if explicit else (frozenset[bytes](), frozenset[bytes]())
    data, base, at = window.data, window.base, start - window.base
    uids, pixels, ended = dict[int, str](), None, False
    while not ended:
        run = runs.get(data[at : at + 8])
        if run is not None and data.startswith(run, at):
            at += len(run)
            continue
        began = at
        for _ in range(RUN):
            try:
                group, number, vr, length = unpack(data, at)
                if vr in short_vrs:
                    value = at + 8
                elif vr in long_vrs:
                    (length,), value = unpack_length(data, at + 8), at + 12
                elif not explicit:
                    (length,), value, vr = unpack_length(data, at + 4), at + 8, b""
                elif ended := _is_padding(window, base + at):
                    break
                else:
                    vr, length, value = _other(window, base, at, written, behind_pixels=pixels is not None)
            except error:  # the end of the window or of the file
                if ended := window.size - base - at < 8:
                    break
                window.step(WINDOW // 16)
                if at == 0:
                    raise EOFError from None
                data, base, at = window.at(base + at, WINDOW), base + at, 0
                break
            if length != UNDEFINED_LENGTH and (0x0008 < group < 0x7FE0 or (group == 0x0008 and number not in IDENTITY)):
                at = value + length
                continue
            tag = group << 16 | number
            if group in (COMMAND, META) or tag in WITHOUT_VR:
                if ended := _is_padding(window, base + at):
                    break
                raise Unsendable(f"the data set has an element ({group:04X},{number:04X}), which no data set may have")
            if tag in IDENTIFIERS and length != UNDEFINED_LENGTH:
                uid = window.at(base + value, min(length, 256)).strip(b" \0").decode("latin-1")
                if uids.setdefault(tag, uid) != uid:  # some readers use the first one, others the last
                    raise Unsendable(f"the data set has more than one {IDENTIFIERS[tag]}")
            elif tag in PIXEL_DATA:
                pixels = length
            if length == UNDEFINED_LENGTH:
                at = _behind(window, Element(tag, vr.decode(), length, base + value), written) - base
            else:
                at = value + length
            break
        else:
            if at - began <= LONGEST_RUN and at <= len(data):
                if len(runs) >= MOST_RUNS:
                    runs.clear()
                runs[data[began : began + 8]] = data[began:at]
    end = base + at
    if end > window.size:
        raise EOFError
    if not _is_padding(window, end):
        raise Unsendable(STRAY_BYTES)
    return _Walked(end, uids, pixels)


def _other(window: Window, base: int, at: int, written: Encoding, *, behind_pixels: bool) -> tuple[bytes, int, int]:
    """Return VR, length and position of the value of an explicit element with an unknown VR.

    A VR of a later edition of the Standard has a length of 32 bits (PS3.5 7.1.2). Raises Unsendable for anything else.
    """
    element = head(window, base + at, written.order, written.implicit)
    vr, place = element.vr.encode("latin-1"), element.position - base
    if not vr and element.tag not in WITHOUT_VR:
        vr = window.at(base + at, 6)[4:]
        if not is_vr(vr) or place != at + 12:
            which = f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X})"
            raise Unsendable(
                STRAY_BYTES if behind_pixels else f"its element {which} has no VR, or one that the Standard does not have"
            )
    return vr, element.length, place


def _behind(window: Window, element: Element, written: Encoding) -> int:
    """Return the position after an element of undefined length. Pixel data at the end of a file is not walked."""
    if element.tag in PIXEL_DATA and window.at(window.size - 8, 8) == LAST_DELIMITER + bytes(4):
        return window.size
    try:
        end = behind(window, element, written.order, written.implicit)
    except EOFError:
        raise (Unsendable(NO_END) if element.tag in PIXEL_DATA else EOFError) from None
    if element.tag in PIXEL_DATA and window.at(end - 8, 4) != LAST_DELIMITER and written.order == "little":
        raise Unsendable(NO_END)
    return end


def _is_padding(window: Window, position: int) -> bool:
    """Return whether the rest of a file is NULs only."""
    while position < window.size:
        if window.at(position, min(WINDOW, window.size - position)).strip(b"\0"):
            return False
        position += WINDOW
    return True
