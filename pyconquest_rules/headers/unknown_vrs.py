"""Elements in explicit VR whose VR is none of the Standard's, and data sets that may have no VRs: what their bytes say."""

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
    """Whether two bytes look like a VR."""
    return code.isalpha() and code.isupper()


def is_implicit(window: Window, position: int, order: Order, end: int) -> bool:
    """Whether the elements from `position` to `end` at the latest have no VRs, by the bytes of the first ones."""
    first = window.at(position, 6)
    if position >= end - 7 or is_vr(first[4:]) or tag_of(first, order) in WITHOUT_VR:
        return False
    if _are_implicit(window, position, order, end):
        return True
    long, _, short = _ways(window, position, order)
    return not any(_leads_on(window, way, order, end, DEEPEST) for way in (long, short))


# How many elements behind one of an unknown VR are looked at.
DEEPEST = 3


def unknown(window: Window, position: int, order: Order, end: int) -> Element:
    """The element at `position`, whose VR is none of the Standard's, read in the way that leads to another element.

    DCMTK gives two unknown capitals the 32-bit length of future VRs (PS3.5 7.1.2) and all else one of 16 bits; pydicom gives
    the capitals 16 bits, and takes all else for an element without a VR. If no way leads on, it is DCMTK's.
    """
    ways = long, implicit, short = _ways(window, position, order)
    for way in ways:  # the less a way could lead on by chance, the sooner it is tried
        if _leads_on(window, way, order, end, 0):
            return way
    if _are_implicit(window, position, order, end):
        return implicit
    likely = long if is_vr(window.at(position, 6)[4:]) else short
    return next((way for way in ways if _leads_on(window, way, order, end, DEEPEST)), likely)


def _ways(window: Window, position: int, order: Order) -> tuple[Element, Element, Element]:
    """The ways to read the head of an element of unknown VR: with a length of 32 bits, without a VR, with one of 16 bits."""
    found = window.at(position, 12)
    tag, value = tag_of(found, order), position + 8
    lengths = (int.from_bytes(part, order) for part in (found[8:], found[4:8], found[6:8]))
    long, implicit, short = (Element(tag, "", length, value) for length in lengths)
    return long._replace(position=position + 12), implicit, short


def _leads_on(window: Window, way: Element, order: Order, end: int, depth: int) -> bool:
    """Whether `way` ends where the data set does, or before an element of a known VR whose tag is greater or of the Standard.

    With `depth`, so many elements of unknown VRs may come between.
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
    """Whether some elements from `position` on can be without VRs: their tags grow, and none is longer than the data set."""
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
