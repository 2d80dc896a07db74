"""Finding the wanted elements of a data set or item, and its end, which some writers do not mark correctly."""

import re
from collections.abc import Callable, Set
from typing import NamedTuple

from pyconquest_rules.dicom import dictionary
from pyconquest_rules.headers.charsets import charset
from pyconquest_rules.headers.elements import ITEM, KNOWN_VRS, SEQUENCE_END, UNDEFINED_LENGTH, Element, Order, Window, tag_of
from pyconquest_rules.headers.notes import Note
from pyconquest_rules.headers.stepping import behind, head
from pyconquest_rules.headers.unknown_vrs import is_implicit

LAST_DELIMITER = b"\xfe\xff\xdd\xe0"

Stops = Callable[[int], bool]


class Encoding(NamedTuple):
    """The encoding of the elements of a data set (PS3.5 7.1), and the codec of their text."""

    order: Order
    implicit: bool
    codec: str = charset(b"")


class Scanned(NamedTuple):
    """The wanted elements of a data set, its end, and the tag of the element that ended it, if there is one."""

    elements: dict[int, Element]
    end: int
    ended_at: int | None


def encoding(window: Window, start: int) -> Encoding:
    """Return the encoding of the data set at `start`. Its bytes decide, because some files declare a wrong transfer syntax."""
    first = window.at(start, 2)
    order: Order = "little" if first[1:] <= first[:1] else "big"  # the number of the first group is small
    implicit = is_implicit(window, start, order, window.size)
    return Encoding("little" if implicit else order, implicit)


def scan(window: Window, position: int, written: Encoding, tags: Set[int], stops: Stops) -> Scanned:
    """Return the elements of `tags` from `position` to the end of the file or a tag that `stops`.

    Trailing bytes that are not an element are noted. Raises EOFError if the file ends before an element does, and ValueError
    if the bytes are not elements.
    """
    found, end, last = dict[int, Element](), window.size, -1
    while end - position >= 8:
        window.step(1)
        before = Note.UNKNOWN_VR in window.notes
        try:
            element = head(window, position, written.order, written.implicit)
            if stops(element.tag):
                return Scanned(found, position, element.tag)
            after = behind(window, element, written.order, written.implicit)
        except EOFError:  # truncated, or not an element
            if not before:
                window.notes.discard(Note.UNKNOWN_VR)
            break
        if element.tag in tags:
            found[element.tag] = element
        position, last = after, element.tag
    rest = window.at(position, min(end - position, MOST_TRAILING + 1))
    if rest.strip(b"\0"):
        _check_rest(rest, written, last)
        window.notes.add(Note.TRAILING_BYTES)
    return Scanned(found, position, None)


# Some writers fill the last block of a medium with arbitrary bytes.
MOST_TRAILING = 2048
# A data set that ends before this tag may lack the UIDs of its instance.
EARLIEST_END = 0x0020000E

# Data Set Trailing Padding (PS3.10 7.2), in either byte order.
PADDING = (b"\xfc\xff\xfc\xff", b"\xff\xfc\xff\xfc")
# A group of the Standard in either byte order, an element number, a VR.
EXPLICIT_HEAD = re.compile(rb"(?:[\x08-\x88]\0|\0[\x08-\x88])..(?:" + b"|".join(sorted(KNOWN_VRS)) + rb")", re.DOTALL)


def _check_rest(rest: bytes, written: Encoding, last: int) -> None:
    """Check the bytes after the element `last`. Raises EOFError if they begin an element, ValueError if they may have some."""
    if rest.startswith(PADDING):
        return
    if _is_cut(rest, written, last):
        raise EOFError
    if len(rest) < 8:
        return
    if len(rest) > MOST_TRAILING or last < EARLIEST_END or (not written.implicit and EXPLICIT_HEAD.search(rest)):
        raise ValueError


def _is_cut(rest: bytes, written: Encoding, last: int) -> bool:
    """Return whether the last bytes of a file are the beginning of an element that could follow the element `last`."""
    if len(rest) < 4:
        return len(rest) > 1 and int.from_bytes(rest[:2], written.order) in (last >> 16, *GROUPS_AFTER)
    tag = tag_of(rest[:4], written.order)
    known = tag in dictionary() or bool(tag >> 16 & 1)
    return tag > last and known and (written.implicit or len(rest) < 6 or rest[4:6] in KNOWN_VRS)


# Groups that may follow in an image. Two bytes are a group without an element number.
GROUPS_AFTER = frozenset({0x0010, 0x0018, 0x0020, 0x0028, 0x7FE0})

BROKEN = -1
"""The length that an element gets if it does not end within its item."""


def scan_item(window: Window, position: int, end: int, written: Encoding, tags: Set[int], stops: Stops) -> dict[int, Element]:
    """Return the elements of `tags` of the item from `position` to `end` or a tag that `stops`.

    An element that does not end within the item gets the length BROKEN.
    """
    found = dict[int, Element]()
    while end - position >= 8:
        window.step(1)
        element = head(window, position, written.order, written.implicit, end)
        if stops(element.tag):
            return found
        try:
            position = behind(window, element, written.order, written.implicit)
        except EOFError:
            position = window.size + 1
        if position > end:
            element = element._replace(length=BROKEN)
        if element.tag in tags:
            found[element.tag] = element
    if position != end and (position > end or window.at(position, end - position).strip(b"\0")):
        window.notes.add(Note.ODD_SEQUENCE)
    return found


def check_pixel_data(window: Window, position: int, written: Encoding, frames: int = 0) -> None:
    """Check that the pixel data at `position` is complete.

    If the file ends with the delimiter, fragments (PS3.5 A.4) are not visited. Without a delimiter, pixel data is complete if it
    has an offset table and a fragment for each of `frames`. Raises EOFError if it is truncated, ValueError for other bytes.
    """
    element = head(window, position, written.order, written.implicit)
    if element.length != UNDEFINED_LENGTH:
        behind(window, element, written.order, written.implicit)
        return
    if window.at(window.size - 8, 4) == LAST_DELIMITER:
        return
    position, fragments = element.position, 0
    while True:
        window.step(1)
        mark = window.at(position, 8)
        tag = tag_of(mark, written.order)
        if len(mark) == 8 and tag == SEQUENCE_END:
            return
        if len(mark) < 8 or tag != ITEM:
            break
        position, fragments = position + 8 + int.from_bytes(mark[4:], written.order), fragments + 1
        if position > window.size:
            raise EOFError
    if not fragments and mark.strip(b"\0"):
        raise ValueError
    if fragments <= frames:
        raise EOFError
    window.notes.add(Note.MISSING_DELIMITER)
