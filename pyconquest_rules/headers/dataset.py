"""One data set of a file: the positions of its wanted elements, and their values (PS3.5 section 7).

Other elements are skipped by their lengths. This is the careful reader, which expects irregular files; `layouts.py` has the fast
reader.
"""

from collections.abc import Iterator, Mapping, Set
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
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Element,
    TooMany,
    Window,
)
from pyconquest_rules.headers.notes import Note
from pyconquest_rules.headers.scanning import BROKEN, Encoding, Scanned, Stops, check_pixel_data, scan, scan_item
from pyconquest_rules.headers.stepping import behind, head, order_of_items
from pyconquest_rules.headers.unknown_vrs import is_implicit
from pyconquest_rules.headers.values import TooLong, Unreadable

CHARACTER_SET, PIXEL_REPRESENTATION, NUMBER_OF_FRAMES, DIRECTORY_RECORDS = 0x00080005, 0x00280103, 0x00280008, 0x00041220
PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
ENDS = PIXEL_DATA | {DIRECTORY_RECORDS}
# Elements on which the meaning of other values depends.
CONTEXT = frozenset({CHARACTER_SET, PIXEL_REPRESENTATION})

VRS = frozenset(vr.decode() for vr in KNOWN_VRS) - {"UN"}

MOST_ITEMS = 100_000
"""The limit on the items of a path. A structure set has some thousands, and each takes half a kilobyte of memory."""

Items = tuple[tuple[int, int], ...]


class Level(NamedTuple):
    """The wanted elements of a data set or of one of its items, and their encoding."""

    elements: Mapping[int, Element]
    written: Encoding


# Errors that concern the value of one element only.
FAILURES = (Unreadable, TooLong, EOFError, TooMany)


class DataSet:
    """The values of the wanted elements of a data set, at its top and in items. Their oddities go to `window.notes`."""

    def __init__(self, window: Window, written: Encoding, tags: Set[int], scanned: Scanned) -> None:
        """`scanned` is the top of the data set."""
        self._window, self._tags, self.end, self.ended_at = window, tags | CONTEXT, scanned.end, scanned.ended_at
        self._top = Level(scanned.elements, written)
        self._levels: dict[Items, Level | None] = {(): self._top}
        self._all_levels: dict[Items, tuple[Level, ...]] = {}
        self._broken: dict[Items, type[Exception]] = {}
        self._room = values.LIMIT
        window.renew()

    @classmethod
    def read(cls, window: Window, start: int, written: Encoding, tags: Set[int], stops: Stops = ENDS.__contains__) -> "DataSet":
        """Find the elements `tags` of the data set at `start`, which ends with the file or before a tag that `stops`.

        Raises EOFError if the file ends before an element does, pixel data included.
        """
        scanned = scan(window, start, written, tags | CONTEXT | {NUMBER_OF_FRAMES}, stops)
        decoded = written._replace(codec=codec(window, scanned.elements, written.codec))
        dataset = cls(window, decoded, tags, scanned)
        if scanned.ended_at in PIXEL_DATA:
            frames = dataset.value(NUMBER_OF_FRAMES)
            check_pixel_data(window, scanned.end, written, int(frames) if frames.isdigit() else 1)
        return dataset

    def value(self, tag: int) -> bytes:
        """Return the value of a short top-level element without the spaces and NULs at its end; empty if there is none."""
        top = self._levels[()]
        element = top.elements.get(tag) if top else None
        if element is None or element.length == UNDEFINED_LENGTH:
            return b""
        return self._window.at(element.position, min(element.length, values.LONG)).rstrip(b" \0")

    def found(self, path: TagPath) -> Value:
        """Return the value of an element as `values.text` does; None if the element or an item above it is missing.

        For a path over all items, return a tuple with a value or None for each item. If a value cannot be read or is too long,
        the result is None, for all items together, and noted.
        """
        try:
            if path.all_items:
                return tuple([self._text(level, path) for level in self._levels_at(path.path)]) or None
            level = self._at(path.path)
            return self._text(level, path) if level else None
        except FAILURES as failure:
            self.note(failure)
        return None

    def note(self, failure: Exception) -> None:
        """Note why a value could not be read."""
        self._window.notes.add(Note.LONG_VALUE if isinstance(failure, TooLong) else Note.UNREADABLE_VALUE)

    @property
    def top(self) -> Level:
        """The top of the data set."""
        return self._top

    def text(self, level: Level, tag: int) -> str | None:
        """Return the value of an element of a level. It counts towards the limit of a file. Raises one of FAILURES."""
        text = self._text(level, TagPath((), tag))
        self._take(text)
        return text

    def short(self, level: Level, tag: int, most: int) -> bytes:
        """Return the bytes of an element of a level; none if it is missing, longer than `most` or of undefined length."""
        element = level.elements.get(tag)
        if element is None or not 0 < element.length <= most:
            return b""
        return self._window.at(element.position, element.length)

    def below(self, level: Level, items: Items) -> Iterator[Level]:
        """Yield every level within `items` of a level, in the order of the file. Raises one of FAILURES."""
        if not items:
            yield level
            return
        (tag, number), *further = items
        for inner in self._numbered(level, tag, number):
            yield from self.below(inner, tuple(further))

    def _text(self, level: Level, path: TagPath) -> str | None:
        tag = path.tag if path.creator is None else self._private(level, path.tag, path.creator)
        element = level.elements.get(tag)
        if element is None:
            return None
        little, codec = level.written.order == "little", level.written.codec
        text = values.text(self._value(element), self._vr(element), little, codec)
        if path.all_items or element.length > values.LONG:
            self._take(text)
        return text

    def _take(self, text: str | None) -> None:
        """Count a text towards the limit of all items and long values of a file. Raises TooLong if it is exceeded."""
        size = len((text or "").encode()) + 1
        if size > self._room:
            raise TooLong
        self._room -= size

    def _private(self, level: Level, tag: int, creator: str) -> int:
        """Return the tag of a private element in the block that its creator reserved (PS3.5 7.8.1); -1 if there is none."""
        group = tag & ~0xFFFF
        for block in CREATORS:
            reserved = level.elements.get(group | block)
            if reserved and values.text(self._value(reserved), "LO", True, level.written.codec) == creator:
                return group | block << 8 | tag & 0xFF
        return -1

    def _value(self, element: Element) -> bytes:
        """Return the bytes of a value; none if its length is undefined, since it is not text then. Raises Unreadable, TooLong."""
        if element.length == UNDEFINED_LENGTH:
            return b""
        if element.length == BROKEN:
            raise Unreadable
        if element.length > values.LIMIT:
            raise TooLong
        return self._window.at(element.position, element.length)

    def _vr(self, element: Element) -> str:
        """Return the VR that the file has, else the VR of PS3.6, else UN."""
        if element.vr in VRS:
            return element.vr
        vr = standard_vr(element.tag)
        if vr.startswith("US or SS") and self.value(PIXEL_REPRESENTATION) == b"\1":
            return "SS"
        return vr[:2]

    def _at(self, items: Items) -> Level | None:
        """Return the level within `items`; None if one of them is missing. Raises one of FAILURES."""
        if items not in self._levels:
            self._check(items)
            above, (tag, number) = self._at(items[:-1]), items[-1]
            try:
                self._levels[items] = next(islice(self._inside(above, tag), number, None), None) if above else None
            except FAILURES as failure:
                self._broken[items] = type(failure)
                raise
        return self._levels[items]

    def _levels_at(self, items: Items) -> tuple[Level, ...]:
        """Return every level within `items`, some of which are ALL, in the order of the file. It is cached for other paths.

        Raises one of FAILURES.
        """
        if items not in self._all_levels:
            self._check(items)
            try:
                found = tuple(islice(self._walk(items), MOST_ITEMS + 1))
                if len(found) > MOST_ITEMS:
                    raise TooLong
            except FAILURES as failure:
                self._broken[items] = type(failure)
                raise
            self._all_levels[items] = found
        return self._all_levels[items]

    def _check(self, items: Items) -> None:
        """Raise the error that the search for these items raised before, because a second search may take long."""
        if items in self._broken:
            raise self._broken[items]

    def _walk(self, items: Items) -> Iterator[Level]:
        if not items:
            yield from filter(None, [self._at(())])
            return
        tag, number = items[-1]
        for above in self._levels_at(items[:-1]):
            yield from self._numbered(above, tag, number)

    def _numbered(self, above: Level, tag: int, number: int) -> Iterator[Level]:
        inside = self._inside(above, tag)
        return inside if number == ALL else islice(inside, number, number + 1)

    def _inside(self, above: Level, tag: int) -> Iterator[Level]:
        """Yield the levels of the items of a sequence. Items without a character set inherit it (PS3.5 7.5.3).

        In explicit VR, items may still be implicit, as they have to be in UN (PS3.5 6.2.2 note 2). Their bytes decide.
        """
        sequence = above.elements.get(tag)
        if sequence is None:
            return
        window, outer = self._window, above.written
        order = order_of_items(window, sequence.position, outer.order)
        for start, end in self._items(sequence, Encoding(order, outer.implicit)):
            implicit = outer.implicit or is_implicit(window, start, order, end)
            elements = scan_item(window, start, end, Encoding(order, implicit), self._tags, DELIMITERS.__contains__)
            if elements and implicit != (outer.implicit or sequence.vr == "UN"):
                window.notes.add(Note.ODD_SEQUENCE)
            yield Level(elements, Encoding(order, implicit, codec(window, elements, outer.codec)))

    def _items(self, sequence: Element, written: Encoding) -> Iterator[tuple[int, int]]:
        """Yield the position of each item of a sequence, and its latest possible end. Raises Unreadable if it is not an item."""
        if sequence.length == BROKEN:
            raise Unreadable
        window, position, known = self._window, sequence.position, sequence.length != UNDEFINED_LENGTH
        end = position + sequence.length if known else window.size
        while end - position >= 8:
            window.step(1)
            item = head(window, position, written.order, implicit=True)
            if item.tag == SEQUENCE_END:  # some writers end sequences and items of known length too
                return
            position = item.position
            if item.tag == ITEM_END:
                continue
            if item.tag != ITEM:
                raise Unreadable
            until = end if item.length == UNDEFINED_LENGTH else position + item.length
            if until > end:
                window.notes.add(Note.ODD_SEQUENCE)
            yield position, min(until, end)
            position = until if item.length != UNDEFINED_LENGTH else behind(window, item, *written[:2])
        if position < end and window.at(position, end - position).strip(b"\0"):
            raise Unreadable


def codec(window: Window, elements: Mapping[int, Element], inherited: str) -> str:
    """Return the codec of a data set or item with these elements; `inherited` if they have no character set."""
    element = elements.get(CHARACTER_SET)
    if element is None or element.length in (0, BROKEN, UNDEFINED_LENGTH):
        return inherited
    return charset(window.at(element.position, min(element.length, values.LONG)))


def standard_vr(tag: int) -> str:
    """Return the VR of PS3.6, which may have several, such as `US or SS`; else UN."""
    if element := dictionary().get(tag):
        return element.VR
    if tag & 0xFFFF == 0:
        return "UL"  # a group length (PS3.5 7.2)
    if tag >> 16 & 1:
        return "UN"
    from pydicom.datadict import dictionary_VR  # it has the repeating groups too, but takes long to import

    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"
