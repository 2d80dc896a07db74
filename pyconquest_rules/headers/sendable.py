"""The data set of a file as it is sent: where it begins and ends, and the transfer syntax that it really has.

Reading is tolerant, sending is strict. What is sent is the data set that the index reads, from its first element to its last.
A data set that no transfer syntax describes is refused before a byte of it goes.
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
# In the transfer syntaxes of the Standard that are none of these pixel data is encapsulated, and all VRs are explicit.
NATIVE = frozenset({IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, DEFLATED})
OF_THE_STANDARD = "1.2.840.10008.1.2."

# Groups of commands and of file meta information, which no data set has (PS3.5 7.1, PS3.10 7.1).
COMMAND, META = 0x0000, 0x0002

# Elements in a row that are remembered together, if they are short. What is remembered is bounded.
RUN, LONGEST_RUN, MOST_RUNS = 8, 4096, 2000
IDENTITY = frozenset({SOP_CLASS & 0xFFFF, SOP_INSTANCE & 0xFFFF})

NOT_AS_TOLD = "the data set is not encoded as its transfer syntax says"
WORDS = {
    Reason.NOT_A_FILE: "not a regular file",
    Reason.UNREADABLE: "the file cannot be read",
    Reason.NOT_DICOM: "not a DICOM file",
    Reason.TOO_LARGE: "the data set is too large",
}
ENDS_EARLY = "the data set ends too early"


class Unsendable(Exception):
    """A data set cannot be sent. The text says why, and holds nothing of the file."""


@dataclass(frozen=True, slots=True)
class Sendable:
    """The data set of a file: its place in the file, the transfer syntax that its bytes have, and what instance it is."""

    start: int
    size: int
    syntax: str
    sop_class: str
    sop_instance: str


class _Walked(NamedTuple):
    """What the elements at the top of a data set say: its end, its UIDs, and the length of its pixel data if it has any."""

    end: int
    uids: dict[int, str]
    pixels: int | None


Runs = dict[Encoding, dict[bytes, bytes]]
"""Elements in a row that were seen in data sets of an encoding, by their first bytes. One comparison steps over them again."""


def sendable(descriptor: int, runs: Runs) -> Sendable:
    """The data set of an open file, in the transfer syntax that it really has.

    If the file names an uncompressed transfer syntax or none, the bytes decide between implicit VR, explicit VR and big endian.
    Elements of group 0002 right behind the file meta information belong to it, whatever its group length says; so they are not
    sent. NULs behind the last element are no part of the data set either. What `runs` remembers of other files makes it fast and
    changes nothing. Raises Unsendable.
    """
    try:
        window, start, sop_class, told, _, offset = opened(descriptor)
        if window.size - start < 8:
            raise Unsendable("the file has no data set")
        written = encoding(window, start)
        syntax = _syntax(told, written)
        walked = _walked(window, start, written, runs.setdefault(written, {}))
    except Rejected as rejected:
        raise Unsendable(WORDS.get(rejected.reason, ENDS_EARLY)) from None
    except TooMany:
        raise Unsendable("the data set has too many elements") from None
    except EOFError:
        raise Unsendable(ENDS_EARLY) from None
    except zlib.error:
        raise Unsendable(f"{NOT_AS_TOLD}: it is not deflated") from None
    except OSError:
        raise Unsendable("the file cannot be read") from None
    if walked.pixels is not None and syntax.startswith(OF_THE_STANDARD[:-1]):
        _check_pixels(walked.pixels, syntax)
    deflated = syntax == DEFLATED
    size = os.fstat(descriptor).st_size - offset if deflated else walked.end - start
    if size % 2 and not deflated:
        # Fragments are of even length (PS3.8 E.1). A peer that gets another one aborts the association.
        raise Unsendable("the data set has an odd number of bytes, which cannot be sent")
    return Sendable(offset, size, syntax, walked.uids.get(SOP_CLASS) or sop_class, walked.uids.get(SOP_INSTANCE, ""))


def _syntax(told: str, written: Encoding) -> str:
    """The transfer syntax of a data set: the one that its file names, unless its bytes say otherwise. Raises Unsendable."""
    if written.implicit:
        found, words = IMPLICIT_VR_LITTLE_ENDIAN, "it has no explicit VRs"
    elif written.order == "big":
        found, words = EXPLICIT_VR_BIG_ENDIAN, "it is big endian"
    else:
        found, words = EXPLICIT_VR_LITTLE_ENDIAN, ""
    if told in ("", IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN):
        return found
    if told.startswith(OF_THE_STANDARD) and words:
        raise Unsendable(f"{NOT_AS_TOLD}: {words}")
    return told


def _check_pixels(length: int, syntax: str) -> None:
    """Pixel data are encapsulated where the transfer syntax compresses them, and nowhere else (PS3.5 A.4). Raises Unsendable."""
    if syntax in NATIVE and length == UNDEFINED_LENGTH:
        raise Unsendable(f"{NOT_AS_TOLD}: its pixel data is encapsulated")
    if syntax not in NATIVE and length not in (0, UNDEFINED_LENGTH):
        raise Unsendable(f"{NOT_AS_TOLD}: its pixel data is not encapsulated")


def _walked(window: Window, start: int, written: Encoding, runs: dict[bytes, bytes]) -> _Walked:
    """Steps over the elements at the top of a data set. Raises Unsendable, EOFError, TooMany."""
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
                    vr, length, value = _other(window, base, at, written)
            except error:  # here the window ends, or the file
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
            if tag in (SOP_CLASS, SOP_INSTANCE) and length != UNDEFINED_LENGTH:
                uids[tag] = window.at(base + value, min(length, 256)).strip(b" \0").decode("latin-1")
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
        raise Unsendable("behind the data set are bytes that are no data element")
    return _Walked(end, uids, pixels)


def _other(window: Window, base: int, at: int, written: Encoding) -> tuple[bytes, int, int]:
    """An element among explicit ones whose VR is none of today's Standard: VR, length and place.

    A later edition's VR has a length of 32 bits (PS3.5 7.1.2). Raises Unsendable for anything else.
    """
    element = head(window, base + at, written.order, written.implicit)
    vr, place = element.vr.encode("latin-1"), element.position - base
    if not vr and element.tag not in WITHOUT_VR:
        vr = window.at(base + at, 6)[4:]
        if not is_vr(vr) or place != at + 12:
            raise Unsendable("the data set has an element without a VR, or with a VR that the Standard does not have")
    return vr, element.length, place


def _behind(window: Window, element: Element, written: Encoding) -> int:
    """The position behind an element of undefined length. Fragments of pixel data at the end of a file need no visit."""
    if element.tag in PIXEL_DATA and window.at(window.size - 8, 8) == LAST_DELIMITER + bytes(4):
        return window.size
    end = behind(window, element, written.order, written.implicit)
    if element.tag in PIXEL_DATA and window.at(end - 8, 4) != LAST_DELIMITER and written.order == "little":
        raise Unsendable("its encapsulated pixel data has no end")
    return end


def _is_padding(window: Window, position: int) -> bool:
    """Whether nothing but NULs is left of a file."""
    while position < window.size:
        if window.at(position, min(WINDOW, window.size - position)).strip(b"\0"):
            return False
        position += WINDOW
    return True
