"""Stepping from one element of a data set to the next (PS3.5 section 7).

No length may reach beyond the file. Nested sequences need no recursion and little memory, however deep they are.
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
    """Return the element at `position`. The data set ends at `end`, by default with the file.

    The length of a delimiter has no meaning (PS3.5 7.5) and becomes 0. An element with an unknown VR is noted and gets no VR.
    Raises EOFError if the file ends within its head.
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
    """Return the position after an element or item, including everything nested in it. Raises EOFError if the file ends before.

    `implicit` is whether its data set is implicit, or the item itself.
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
    """Return the byte order of the items at `position`. Items of UN are always little endian (PS3.5 6.2.2 note 2)."""
    first = window.at(position, 4)
    other: Order = "little" if order == "big" else "big"
    return other if tag_of(first, other) == ITEM else order


ITEMS, IMPLICIT = 1, 2
ITEM_GROUP = ITEM >> 16


def _behind_delimiter(window: Window, position: int, order: Order, item: bool, implicit: bool) -> int:
    """Return the position after the delimiter of a sequence or item. Heads are read as `head` does.

    In explicit VR, items may still be implicit, as they have to be in UN (PS3.5 6.2.2 note 2). Their first element decides.
    """
    unpack, unpack_length, data, base = HEADS[order], LENGTHS[order], b"", position
    nested = bytearray([ITEMS * item | IMPLICIT * implicit])  # the open sequences and items, one byte for each
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
        except error:  # the end of the window or of the file
            base, at, before = base + at, 0, data if at == 0 else b""
            data = window.at(base, WINDOW)
            window.step(WINDOW_STEPS)
            if before or len(data) < 8:
                raise EOFError from None
    return base + at


def _close(nested: bytearray, delimiter: int) -> None:
    """Close the innermost item or sequence. A sequence end closes an open item too; a surplus delimiter is ignored."""
    if delimiter == SEQUENCE_END and nested[-1] & ITEMS:
        nested.pop()
    if nested and bool(nested[-1] & ITEMS) == (delimiter == ITEM_END):
        nested.pop()


def every(window: Window, position: int, order: Order, implicit: bool, most: int) -> None:
    """Visit every element from `position` on, including nested ones. Raises TooMany for more than `most`, or EOFError."""
    item = ITEM.to_bytes(4, "big") if order == "big" else b"\xfe\xff\x00\xe0"
    for _ in range(most):
        if window.size - position < 8:
            return
        element = head(window, position, order, implicit)
        nested = element.tag in WITHOUT_VR or element.length == UNDEFINED_LENGTH
        # A sequence without a VR, or with UN, is recognised by its first item.
        holds = nested or (element.vr in ("SQ", "UN", "") and window.at(element.position, 4) == item)
        position = element.position + (0 if holds else element.length)
    raise TooMany
