"""Read the top-level elements of a peer's data set (PS3.5 7) in one pass. Nesting costs no memory and no recursion."""

import struct
from collections.abc import Iterator, Mapping

from pyconquest_rules.headers.elements import ITEM, ITEM_END, KNOWN_VRS, LONG_VRS, SEQUENCE_END, UNDEFINED_LENGTH

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
TAG, SHORT, LONG = struct.Struct("<HH"), struct.Struct("<H"), struct.Struct("<I")


class Unreadable(ValueError):
    """The bytes are not a data set."""


def elements(data: bytes | memoryview, syntax: str) -> Mapping[int, memoryview]:
    """Return the values of the top-level elements by tag; the value of a sequence is its items. Raises Unreadable.

    Whether VRs are explicit is read from the data, because some nodes answer in the other transfer syntax than `syntax`.
    """
    view, implicit = memoryview(data), syntax == IMPLICIT_VR_LITTLE_ENDIAN
    if len(view) >= 6:
        has_vr = bytes(view[4:6]) in KNOWN_VRS
        implicit = not has_vr if implicit else not (has_vr or bytes(view[4:6]).isupper())
    found, position = dict[int, memoryview](), 0
    while position < len(view):
        tag, length, start, nested = _head(view, position, implicit=implicit)
        end, position = _end(view, start, length, implicit=nested)
        found[tag] = view[start:end]
    return found


def items(value: memoryview, syntax: str) -> Iterator[Mapping[int, memoryview]]:
    """Yield the items of a sequence. Raises Unreadable."""
    position = 0
    while position < len(value):
        tag, length, start, _ = _head(value, position, implicit=True)
        if tag != ITEM:
            raise Unreadable
        if length != UNDEFINED_LENGTH:
            end = position = _within(value, start + length)
        else:
            end, position = _item_end(value, start, syntax)
        yield elements(value[start:end], syntax)


def _item_end(value: memoryview, start: int, syntax: str) -> tuple[int, int]:
    """Return the end of an item of undefined length, and the start of what follows."""
    position, implicit = start, syntax == IMPLICIT_VR_LITTLE_ENDIAN
    while position < len(value):
        tag, length, at, nested = _head(value, position, implicit=implicit)
        if tag == ITEM_END:
            return position, at
        _, position = _end(value, at, length, implicit=nested)
    raise Unreadable


def _head(view: memoryview, position: int, *, implicit: bool) -> tuple[int, int, int, bool]:
    """Return the tag, length and start of a value, and whether its nested elements are in implicit VR."""
    try:
        group, number = TAG.unpack_from(view, position)
        if implicit or group == 0xFFFE:
            return group << 16 | number, LONG.unpack_from(view, position + 4)[0], position + 8, implicit
        vr = bytes(view[position + 4 : position + 6])
        if vr in LONG_VRS:  # UN of undefined length is in implicit VR (PS3.5 6.2.2, note 2)
            return group << 16 | number, LONG.unpack_from(view, position + 8)[0], position + 12, vr == b"UN"
        return group << 16 | number, SHORT.unpack_from(view, position + 6)[0], position + 8, False
    except struct.error:
        raise Unreadable from None


def _end(view: memoryview, start: int, length: int, *, implicit: bool) -> tuple[int, int]:
    """Return the end of a value, and the start of what follows. Undefined length means a sequence or fragments."""
    if length != UNDEFINED_LENGTH:
        return _within(view, start + length), start + length
    position, inside = start, [implicit]
    while inside:
        before = position
        tag, length, position, nested = _head(view, position, implicit=inside[-1])
        if tag in (ITEM_END, SEQUENCE_END):
            inside.pop()
        elif length == UNDEFINED_LENGTH:
            inside.append(nested)
        else:
            position = _within(view, position + length)
    return before, position


def _within(view: memoryview, end: int) -> int:
    if end > len(view):
        raise Unreadable
    return end
