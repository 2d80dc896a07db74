"""One data set of a file: where its wanted elements are, and their values (PS3.5 section 7).

Elements are stepped over by their lengths, and only values that are wanted are read. This is the careful way, which takes
every file for a strange one; `layouts.py` has the fast way.
"""

from collections.abc import Callable, Iterator, Mapping, Set
from itertools import islice
from typing import NamedTuple

from pyconquest_rules.dicom import ALL, CREATORS, TagPath, Value, dictionary
from pyconquest_rules.headers import values
from pyconquest_rules.headers.charsets import charset
from pyconquest_rules.headers.elements import (
    DELIMITERS,
    ITEM,
    ITEM_END,
    KNOWN_VRS,
    UNDEFINED_LENGTH,
    Element,
    Order,
    Window,
    behind,
    head,
    is_vr,
)

CHARACTER_SET, PIXEL_REPRESENTATION, DIRECTORY_RECORDS = 0x00080005, 0x00280103, 0x00041220
PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
ENDS = PIXEL_DATA | {DIRECTORY_RECORDS}
# What other values can only be understood with.
CONTEXT = frozenset({CHARACTER_SET, PIXEL_REPRESENTATION})

VRS = frozenset(vr.decode() for vr in KNOWN_VRS) - {"UN"}

LAST_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"

# More items of one sequence than these are not looked at: a structure set has a few hundred.
MOST_ITEMS = 10_000

Items = tuple[tuple[int, int], ...]
Stops = Callable[[int], bool]


class Level(NamedTuple):
    """The wanted elements of a data set or of one item in it, and how they are encoded."""

    elements: Mapping[int, Element]
    implicit: bool
    codec: str


class Encoding(NamedTuple):
    """How the elements of a data set are written (PS3.5 7.1), and the codec of their text."""

    order: Order
    implicit: bool
    codec: str = charset(b"")


def encoding(window: Window, start: int) -> Encoding:
    """How the data set at `start` is written: its bytes decide, not the transfer syntax, about which some files lie."""
    first = window.at(start, 6)
    implicit = not is_vr(first[4:])
    # The first group of a data set is low.
    return Encoding("little" if implicit or first[1:2] <= first[:1] else "big", implicit)


class DataSet:
    """The values of the wanted elements of a data set, at its top and in items."""

    def __init__(
        self, window: Window, written: Encoding, tags: Set[int], elements: Mapping[int, Element], end: int, ended_at: int | None
    ) -> None:
        """`elements` are those at the top of the data set, which ends at `end`, before the element `ended_at` if there is one."""
        self._window, self._order, self._tags, self.end, self.ended_at = window, written.order, tags | CONTEXT, end, ended_at
        top = Level(elements, written.implicit, written.codec)
        self._levels: dict[Items, Level | None] = {(): top}
        self._all_levels: dict[Items, tuple[Level, ...]] = {}

    @classmethod
    def read(cls, window: Window, start: int, written: Encoding, tags: Set[int], stops: Stops = ENDS.__contains__) -> "DataSet":
        """Finds the elements `tags` of the data set at `start`, which ends with the file or a tag that `stops`.

        Raises EOFError where the file ends before an element does, pixel data included.
        """
        elements, end, ended_at = scan(window, start, window.size, written, tags | CONTEXT, stops)
        if ended_at in PIXEL_DATA:
            check_pixel_data(window, end, written)
        told = written._replace(codec=codec(window, elements, written.codec))
        return cls(window, told, tags, elements, end, ended_at)

    def value(self, tag: int) -> bytes:
        """The value of a top-level element without the spaces and NULs at its end; empty if there is none."""
        top = self._levels[()]
        element = top.elements.get(tag) if top else None
        return self._value(element).rstrip(b" \0") if element else b""

    def found(self, path: TagPath) -> Value:
        """The value of an element as `values.text` gives it; None if it is missing, or an item on the way to it is.

        For a path over all items: a tuple with one value for each item, None where there is none.
        """
        if not path.all_items:
            level = self._at(path.path)
            return self._text(level, path) if level else None
        return tuple([self._text(level, path) for level in self._levels_at(path.path)]) or None

    def _text(self, level: Level, path: TagPath) -> str | None:
        tag = path.tag if path.creator is None else self._private(level, path.tag, path.creator)
        element = level.elements.get(tag)
        return values.text(self._value(element), self._vr(element), self._order == "little", level.codec) if element else None

    def _private(self, level: Level, tag: int, creator: str) -> int:
        """The tag of a private element in this data set: in the block that its creator reserved (PS3.5 7.8.1); -1 without one."""
        group = tag & ~0xFFFF
        for block in CREATORS:
            reserved = level.elements.get(group | block)
            if reserved and values.text(self._value(reserved), "LO", True, level.codec) == creator:
                return group | block << 8 | tag & 0xFF
        return -1

    def _value(self, element: Element) -> bytes:
        """The bytes of a value as far as they are wanted; none where their number is not told, as that is no text."""
        if element.length == UNDEFINED_LENGTH:
            return b""
        return self._window.at(element.position, min(element.length, values.LIMIT))

    def _vr(self, element: Element) -> str:
        """The VR that the file tells, else that of PS3.6, else UN."""
        if element.vr in VRS:
            return element.vr
        vr = standard_vr(element.tag)
        if vr.startswith("US or SS") and self.value(PIXEL_REPRESENTATION) == b"\1":
            return "SS"
        return vr[:2]

    def _at(self, items: Items) -> Level | None:
        """The level within `items`; None if one of them is missing."""
        if items not in self._levels:
            above, (tag, number) = self._at(items[:-1]), items[-1]
            self._levels[items] = next(islice(self._inside(above, tag), number, None), None) if above else None
        return self._levels[items]

    def _levels_at(self, items: Items) -> tuple[Level, ...]:
        """Every level within `items`, some of which are ALL, in the order of the file; kept, as several paths lead through it."""
        if items not in self._all_levels:
            self._all_levels[items] = tuple(islice(self._walk(items), MOST_ITEMS))
        return self._all_levels[items]

    def _walk(self, items: Items) -> Iterator[Level]:
        if not items:
            yield from filter(None, [self._at(())])
            return
        tag, number = items[-1]
        for above in self._levels_at(items[:-1]):
            inside = self._inside(above, tag)
            yield from inside if number == ALL else islice(inside, number, number + 1)

    def _inside(self, above: Level, tag: int) -> Iterator[Level]:
        """The levels of the items of a sequence. Their character set is inherited where they tell none (PS3.5 7.5.3)."""
        sequence = above.elements.get(tag)
        implicit = above.implicit or (sequence is not None and sequence.vr == "UN")  # PS3.5 6.2.2 note 2
        written = Encoding(self._order, implicit)
        for start, end in self._items(sequence, implicit) if sequence else ():
            elements, _, _ = scan(self._window, start, end, written, self._tags, DELIMITERS.__contains__)
            yield Level(elements, implicit, codec(self._window, elements, above.codec))

    def _items(self, sequence: Element, implicit: bool) -> Iterator[tuple[int, int]]:
        """Where the items of a sequence begin, and where they end at the latest."""
        position, size = sequence.position, self._window.size
        end = size if sequence.length == UNDEFINED_LENGTH else position + sequence.length
        while position < end:
            self._window.step(1)
            item = head(self._window, position, self._order, implicit)
            if item.tag not in (ITEM, ITEM_END):  # some writers end items of known length too
                break
            if item.tag == ITEM:
                yield item.position, size if item.length == UNDEFINED_LENGTH else item.position + item.length
            position = behind(self._window, item, self._order, implicit)


def scan(
    window: Window, position: int, end: int, written: Encoding, tags: Set[int], stops: Stops
) -> tuple[dict[int, Element], int, int | None]:
    """The elements of `tags` from `position` to `end` or a tag that `stops`; where that is, and the tag.

    Raises EOFError where the file ends before an element does.
    """
    found: dict[int, Element] = {}
    while end - position >= 8:
        window.step(1)
        element = head(window, position, written.order, written.implicit)
        if stops(element.tag):
            return found, position, element.tag
        if element.tag in tags:
            found[element.tag] = element
        position = behind(window, element, written.order, written.implicit)
    check_end(window, position, end)
    return found, position, None


def check_end(window: Window, position: int, end: int) -> None:
    """What is left at the end of a data set or an item may be NULs, which are padding. Raises EOFError for all else."""
    if position < end and window.at(position, end - position).strip(b"\0"):
        raise EOFError


def check_pixel_data(window: Window, position: int, written: Encoding) -> None:
    """Steps over the pixel data at `position`. Where the file ends with them, their fragments (PS3.5 A.4) need no visit.

    Raises EOFError where the file ends before they do.
    """
    element = head(window, position, written.order, written.implicit)
    if element.length != UNDEFINED_LENGTH or window.at(window.size - 8, 8) != LAST_DELIMITER:
        behind(window, element, written.order, written.implicit)


def codec(window: Window, elements: Mapping[int, Element], inherited: str) -> str:
    """The codec of the text beside these elements; `inherited` where they tell no character set."""
    element = elements.get(CHARACTER_SET)
    if element is None or element.length in (0, UNDEFINED_LENGTH):
        return inherited
    return charset(window.at(element.position, min(element.length, values.LIMIT)))


def standard_vr(tag: int) -> str:
    """The VR of PS3.6, of which there may be several: `US or SS`; else UN."""
    if element := dictionary().get(tag):
        return element.VR
    if tag & 0xFFFF == 0:
        return "UL"  # a group length (PS3.5 7.2)
    if tag >> 16 & 1:
        return "UN"
    from pydicom.datadict import dictionary_VR  # has the repeating groups too, but takes long to import

    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"
