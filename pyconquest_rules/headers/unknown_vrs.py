"""Elements with a VR that is not in the Standard, and data sets that may be implicit. Their bytes decide how to read them."""

from pyconquest_rules.dicom import dictionary
from pyconquest_rules.headers.elements import (
    ITEM,
    KNOWN_VRS,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    WITHOUT_VR,
    Element,
    Order,
    Window,
    tag_of,
)


def is_vr(code: bytes) -> bool:
    """Return whether two bytes look like a VR."""
    return code.isalpha() and code.isupper()


def is_implicit(window: Window, position: int, order: Order, end: int) -> bool:
    """Return whether the elements from `position` to at most `end` have no VRs, judging by the first ones."""
    first = window.at(position, 6)
    if position >= end - 7 or is_vr(first[4:]) or tag_of(first, order) in WITHOUT_VR:
        return False
    if _are_implicit(window, position, order, end):
        return True
    long, _, short = _ways(window, position, order)
    return not any(_leads_on(window, way, order, end, DEEPEST) for way in (long, short))


DEEPEST = 3
"""How many elements after one with an unknown VR are examined."""


def unknown(window: Window, position: int, order: Order, end: int) -> Element:
    """Return the element at `position`, which has an unknown VR, read in the way that leads to another element.

    DCMTK takes two unknown capitals for a future VR with a length of 32 bits (PS3.5 7.1.2), and other bytes for a length of 16
    bits. pydicom takes capitals for a length of 16 bits, and other bytes for an element without a VR. If no way leads to
    another element, this returns what DCMTK would read.
    """
    ways = long, implicit, short = _ways(window, position, order)
    for way in ways:  # those that are least likely to succeed by chance come first
        if _leads_on(window, way, order, end, 0):
            return way
    if _are_implicit(window, position, order, end):
        return implicit
    likely = long if is_vr(window.at(position, 6)[4:]) else short
    return next((way for way in ways if _leads_on(window, way, order, end, DEEPEST)), likely)


def _ways(window: Window, position: int, order: Order) -> tuple[Element, Element, Element]:
    """Return the ways to read the head of an element: with a VR and 32 bits, without a VR, with a VR and 16 bits."""
    found = window.at(position, 12)
    tag, value = tag_of(found, order), position + 8
    lengths = (int.from_bytes(part, order) for part in (found[8:], found[4:8], found[6:8]))
    long, implicit, short = (Element(tag, "", length, value) for length in lengths)
    return long._replace(position=position + 12), implicit, short


def _leads_on(window: Window, way: Element, order: Order, end: int, depth: int) -> bool:
    """Return whether `way` ends with the data set, or before an element with a known VR whose tag is greater or in PS3.6.

    Up to `depth` elements with unknown VRs may come between.
    """
    window.step(1)
    if way.length == UNDEFINED_LENGTH:
        return tag_of(window.at(way.position, 4), order) in (ITEM, SEQUENCE_END)
    position = way.position + way.length
    if position >= end - 7:
        return position <= end and not window.at(position, end - position).strip(b"\0")
    found = window.at(position, 6)
    tag = tag_of(found, order)
    follows = tag > way.tag or tag in dictionary()
    if tag in WITHOUT_VR or (follows and found[4:] in KNOWN_VRS):
        return True
    if not follows or not depth:
        return False
    return any(_leads_on(window, next_, order, end, depth - 1) for next_ in _ways(window, position, order))


def _are_implicit(window: Window, position: int, order: Order, end: int) -> bool:
    """Return whether elements from `position` on can be implicit: their tags ascend, and none is longer than the data set."""
    before = -1
    for _ in range(DEEPEST):
        window.step(1)
        _, element, _ = _ways(window, position, order)
        if element.tag in WITHOUT_VR:
            return True
        if element.length == UNDEFINED_LENGTH:
            return element.tag > before and tag_of(window.at(element.position, 4), order) in (ITEM, SEQUENCE_END)
        before, too_low, position = element.tag, element.tag <= before, element.position + element.length
        if too_low or position > end:
            return False
        if position >= end - 7:
            return True
    return True
