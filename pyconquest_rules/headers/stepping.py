"""Where the elements of a data set are in the bytes of a file, and where they end (PS3.5 section 7).

No length is believed that reaches beyond the file. Nested sequences cost neither recursion nor memory, however deep they are.
"""

from collections.abc import Callable, Mapping
from struct import Struct, error

from pyconquest_rules.headers.elements import (
    DELIMITERS,
    ITEM,
    ITEM_END,
    KNOWN_VRS,
    LONG_VRS,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    WINDOW,
    WINDOW_STEPS,
    WITHOUT_VR,
    Element,
    Order,
    TooMany,
    Window,
    tag_of,
)
from pyconquest_rules.headers.notes import Note
from pyconquest_rules.headers.unknown_vrs import is_implicit, unknown

HEADS: Mapping[Order, Callable[..., tuple[int, int, bytes, int]]] = {
    "little": Struct("<HH2sH").unpack_from,
    "big": Struct(">HH2sH").unpack_from,
}
LENGTHS: Mapping[Order, Callable[..., tuple[int]]] = {"little": Struct("<I").unpack_from, "big": Struct(">I").unpack_from}


def head(window: Window, position: int, order: Order, implicit: bool, end: int | None = None) -> Element:
    """The element at `position`. The data set ends at `end`, by default with the file.

    The length of a delimiter means nothing (PS3.5 7.5) and is 0. An element whose VR is none of the Standard's is noted,
    and has no VR. Raises EOFError if the file ends within its head.
    """
    found = window.at(position, 12)
    if len(found) < 8:
        raise EOFError
    tag, vr = tag_of(found, order), found[4:6]
    if implicit or tag in WITHOUT_VR or not any(found[:8]):
        return Element(tag, "", 0 if tag in DELIMITERS else int.from_bytes(found[4:8], order), position + 8)
    if vr in SHORT_VRS:
        return Element(tag, vr.decode(), int.from_bytes(found[6:8], order), position + 8)
    if vr not in LONG_VRS:
        window.notes.add(Note.UNKNOWN_VR)
        return unknown(window, position, order, window.size if end is None else end)
    if len(found) < 12:
        raise EOFError
    return Element(tag, vr.decode(), int.from_bytes(found[8:], order), position + 12)


def behind(window: Window, element: Element, order: Order, implicit: bool) -> int:
    """The position behind an element or item, whatever is nested in it. Raises EOFError if that is beyond the file.

    `implicit` is how the data set that it is in is written, or the item itself.
    """
    position = element.position
    if element.length == UNDEFINED_LENGTH:
        order = order_of_items(window, position, order)
        position = _behind_delimiter(window, position, order, element.tag == ITEM, implicit)
    else:
        position += element.length
    if position > window.size:
        raise EOFError
    return position


def order_of_items(window: Window, position: int, order: Order) -> Order:
    """The byte order of the items at `position`: those of UN are little endian also in big endian (PS3.5 6.2.2 note 2)."""
    first = window.at(position, 4)
    other: Order = "little" if order == "big" else "big"
    return other if tag_of(first, other) == ITEM else order


ITEMS, IMPLICIT = 1, 2
ITEM_GROUP = ITEM >> 16


def _behind_delimiter(window: Window, position: int, order: Order, item: bool, implicit: bool) -> int:
    """The position behind the delimiter of a sequence or item. Heads are read as `head` does.

    The items of a sequence in explicit VR may have no VRs, as those of UN should (PS3.5 6.2.2 note 2): their first element says.
    """
    unpack, unpack_length, data, base = HEADS[order], LENGTHS[order], b"", position
    nested = bytearray([ITEMS * item | IMPLICIT * implicit])  # what waits for its delimiter, a byte each
    at, begins = 0, item and not implicit
    while nested:
        try:
            group, number, vr, length = unpack(data, at)
            if group != ITEM_GROUP and not implicit and vr in SHORT_VRS:
                at, begins = at + 8 + length, False
                continue
            tag = group << 16 | number
            if begins and tag not in WITHOUT_VR and vr not in KNOWN_VRS:
                implicit = is_implicit(window, base + at, order, window.size)
                nested[-1] |= IMPLICIT * implicit
            begins = False
            if tag in DELIMITERS:
                at += 8
                _close(nested, tag)
                implicit = bool(nested) and bool(nested[-1] & IMPLICIT)
            elif implicit or tag == ITEM:
                (length,), at = unpack_length(data, at + 4), at + 8
                if length == UNDEFINED_LENGTH:
                    nested.append(ITEMS * (tag == ITEM) | IMPLICIT * implicit)
                    begins = tag == ITEM and not implicit
                else:
                    at += length
            else:
                if vr in LONG_VRS:
                    (length,), at = unpack_length(data, at + 8), at + 12
                else:
                    _, _, length, value = head(window, base + at, order, implicit)
                    at = value - base
                if length == UNDEFINED_LENGTH:
                    nested.append(0)
                else:
                    at += length
        except error:  # here the window ends, or the file
            base, at, before = base + at, 0, data if at == 0 else b""
            data = window.at(base, WINDOW)
            window.step(WINDOW_STEPS)
            if before or len(data) < 8:
                raise EOFError from None
    return base + at


def _close(nested: bytearray, delimiter: int) -> None:
    """Ends the innermost item or sequence. The end of a sequence also ends an item left open; one too many is passed over."""
    if delimiter == SEQUENCE_END and nested[-1] & ITEMS:
        nested.pop()
    if nested and bool(nested[-1] & ITEMS) == (delimiter == ITEM_END):
        nested.pop()


def every(window: Window, position: int, order: Order, implicit: bool, most: int) -> None:
    """Looks at every element from `position` on, nested ones too. Raises TooMany for more than `most`, and EOFError."""
    item = ITEM.to_bytes(4, "big") if order == "big" else b"\xfe\xff\x00\xe0"
    for _ in range(most):
        if window.size - position < 8:
            return
        element = head(window, position, order, implicit)
        nested = element.tag in WITHOUT_VR or element.length == UNDEFINED_LENGTH
        # Sequences are known by their first item: of some the file tells no VR, or UN.
        holds = nested or (element.vr in ("SQ", "UN", "") and window.at(element.position, 4) == item)
        position = element.position + (0 if holds else element.length)
    raise TooMany
