"""The actual encoding of a data set. The file meta information, or the peer that sends it, may declare another one."""

import os
from typing import NamedTuple

from pyconquest_rules.headers.dataset import ENDS, PIXEL_DATA
from pyconquest_rules.headers.elements import UNDEFINED_LENGTH, WINDOW, Order, Window
from pyconquest_rules.headers.opening import inflated, meta
from pyconquest_rules.headers.scanning import Encoding, encoding, scan
from pyconquest_rules.headers.stepping import head


class Written(NamedTuple):
    """The encoding of a data set: its start, its byte order, and whether it has implicit VRs.

    `encapsulated` is whether its pixel data is encapsulated (PS3.5 A.4); None if it has none.
    """

    start: int
    order: Order
    implicit: bool
    encapsulated: bool | None


def written(descriptor: int, start: int, *, deflated: bool = False) -> Written:
    """Return the encoding of the data set at `start` of an open file, after any elements of group 0002. Its bytes decide.

    Raises Rejected or EOFError if it cannot be read up to its pixel data.
    """
    window = Window(os.pread(descriptor, WINDOW, 0), os.fstat(descriptor).st_size, descriptor)
    if deflated:
        return written_at(inflated(window, start), 0)
    if window.at(start, 2) in (b"\2\0", b"\0\2"):
        start = meta(window, start)[2]
    return written_at(window, start)


def written_at(window: Window, start: int) -> Written:
    """Return the encoding of the data set at `start`. Raises as `written` does.

    Most native pixel data ends with the file. That is checked first, without visiting the elements before it.
    """
    order, implicit, _ = encoding(window, start)
    if order == "little":
        at = window.data.find(b"\xe0\x7f\x10\0", start - window.base)
        if at >= 0 and window.base + at + 12 <= window.size:
            pixels = head(window, window.base + at, order, implicit)
            if pixels.position + pixels.length == window.size:
                return Written(start, order, implicit, False)
    _, end, tag = scan(window, start, Encoding(order, implicit), frozenset(), ENDS.__contains__)
    encapsulated = head(window, end, order, implicit).length == UNDEFINED_LENGTH if tag in PIXEL_DATA else None
    return Written(start, order, implicit, encapsulated)
