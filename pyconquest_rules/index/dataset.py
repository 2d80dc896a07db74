"""One data set of a file: where its wanted elements are, and their values (PS3.5 section 7).

Elements are stepped over by their lengths, and only values that are wanted are read. No length is believed that
reaches beyond the file; nested sequences cost neither recursion nor memory, however deep or long they are.
"""

from collections.abc import Callable, Iterator, Set
from itertools import islice
from typing import BinaryIO, Literal, NamedTuple

from pydicom.datadict import dictionary_VR
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from pyconquest_rules.dicom import ALL, CREATORS, TagPath
from pyconquest_rules.index import values

CHARACTER_SET, PIXEL_REPRESENTATION, DIRECTORY_RECORDS = 0x00080005, 0x00280103, 0x00041220
PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
ENDS = PIXEL_DATA | {DIRECTORY_RECORDS}

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

VRS = frozenset(VR) - {VR.UN}
LONG_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)

DELIMITERS = frozenset({ITEM_END, SEQUENCE_END})
LAST_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"

# More items of one sequence than these are not looked at: a structure set has a few hundred.
MOST_ITEMS = 10_000

Items = tuple[tuple[int, int], ...]
Value = str | tuple[str | None, ...] | None
Stops = Callable[[int], bool]


class Element(NamedTuple):
    """An element or item: its tag, its VR if the file tells one, and where its value is."""

    tag: int
    vr: str
    length: int
    position: int


class Level(NamedTuple):
    """The wanted elements of a data set or of one item in it, and how they are encoded."""

    elements: dict[int, Element]
    implicit: bool
    codec: str


class DataSet:
    """The elements `tags`, at the top or in items, of the data set at `start` in a file of `size` bytes.

    It ends with the file, before pixel data or directory records, or behind its `group` if only one is wanted: `end`
    is the position there, `ended_at` the tag, None for the end of the file. Raises EOFError where the file ends before
    an element does, pixel data included.
    """

    def __init__(self, file: BinaryIO, start: int, size: int, tags: Set[int], group: int | None = None) -> None:
        self._file, self._size = file, size
        self._tags = tags | {CHARACTER_SET, PIXEL_REPRESENTATION}
        head = self._read(start, 6)
        # The bytes decide, not the transfer syntax, about which some files lie. The first group of a data set is low.
        implicit = not _is_vr(head[4:])
        self._order: Literal["little", "big"] = "little" if implicit or head[1:2] <= head[:1] else "big"
        self._levels: dict[Items, Level | None] = {}
        stops: Stops = ENDS.__contains__ if group is None else lambda tag: tag >> 16 != group
        elements, self.end, self.ended_at = self._scan(start, size, implicit, stops)
        self._levels[()] = self._level(elements, implicit, values.charset(b""))
        if self.ended_at in PIXEL_DATA:
            self._check_pixel_data(implicit)

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
        texts = [self._text(level, path) for level in islice(self._levels_at(path.path), MOST_ITEMS)]
        return tuple(texts) or None

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

    def _read(self, position: int, length: int) -> bytes:
        self._file.seek(position)
        return self._file.read(length)

    def _value(self, element: Element) -> bytes:
        """The bytes of a value as far as they are wanted; none where their number is not told, as that is no text."""
        return b"" if element.length == UNDEFINED_LENGTH else self._read(element.position, min(element.length, values.LIMIT))

    def _vr(self, element: Element) -> str:
        """The VR that the file tells, else that of PS3.6, else UN."""
        if element.vr in VRS:
            return element.vr
        try:
            vr = dictionary_VR(element.tag)
        except KeyError:
            return "UN" if element.tag & 0xFFFF else "UL"  # a group length (PS3.5 7.2)
        if vr.startswith("US or SS") and self.value(PIXEL_REPRESENTATION) == b"\1":
            return "SS"
        return vr[:2]

    def _level(self, elements: dict[int, Element], implicit: bool, inherited: str) -> Level:
        """A level; its character set is inherited where it tells none (PS3.5 7.5.3)."""
        told = self._value(elements[CHARACTER_SET]) if CHARACTER_SET in elements else b""
        return Level(elements, implicit, values.charset(told) if told else inherited)

    def _at(self, items: Items) -> Level | None:
        """The level within `items`; None if one of them is missing."""
        if items not in self._levels:
            above, (tag, number) = self._at(items[:-1]), items[-1]
            self._levels[items] = next(islice(self._inside(above, tag), number, None), None) if above else None
        return self._levels[items]

    def _levels_at(self, items: Items) -> Iterator[Level]:
        """Every level within `items`, some of which are ALL, in the order of the file."""
        if not items:
            yield from filter(None, [self._at(())])
            return
        tag, number = items[-1]
        for above in self._levels_at(items[:-1]):
            inside = self._inside(above, tag)
            yield from inside if number == ALL else islice(inside, number, number + 1)

    def _inside(self, above: Level, tag: int) -> Iterator[Level]:
        """The levels of the items of a sequence."""
        sequence = above.elements.get(tag)
        implicit = above.implicit or (sequence is not None and sequence.vr == "UN")  # PS3.5 6.2.2 note 2
        for start, end in self._items(sequence, implicit) if sequence else ():
            yield self._level(self._scan(start, end, implicit, DELIMITERS.__contains__)[0], implicit, above.codec)

    def _items(self, sequence: Element, implicit: bool) -> Iterator[tuple[int, int]]:
        """Where the items of a sequence begin, and where they end at the latest."""
        position = sequence.position
        end = self._size if sequence.length == UNDEFINED_LENGTH else position + sequence.length
        while position < end:
            item = self._head(position, implicit)
            if item.tag not in (ITEM, ITEM_END):  # some writers end items of known length too
                break
            if item.tag == ITEM:
                yield item.position, self._size if item.length == UNDEFINED_LENGTH else item.position + item.length
            position = self._behind(item, implicit)

    def _scan(self, position: int, end: int, implicit: bool, stops: Stops) -> tuple[dict[int, Element], int, int | None]:
        """The wanted elements from `position` to `end` or a tag that `stops`; where that is, and the tag."""
        found: dict[int, Element] = {}
        while end - position >= 8:
            element = self._head(position, implicit)
            if stops(element.tag):
                return found, position, element.tag
            if element.tag in self._tags:
                found[element.tag] = element
            position = self._behind(element, implicit)
        if position < end and self._read(position, end - position).strip(b"\0"):  # NULs are padding
            raise EOFError
        return found, position, None

    def _behind(self, element: Element, implicit: bool) -> int:
        """The position behind an element or item, whatever is nested in it."""
        nested: list[tuple[bool, bool]] = []  # what waits for its delimiter: whether it is an item, whether it is implicit
        while True:
            position = element.position
            if element.length == UNDEFINED_LENGTH:
                nested.append((element.tag == ITEM, implicit or element.vr == "UN"))
            elif nested and element.tag in DELIMITERS:
                _close(nested, element.tag)
            else:
                position += element.length
            if not nested:
                break
            implicit = nested[-1][1]
            element = self._head(position, implicit)
        if position > self._size:
            raise EOFError
        return position

    def _head(self, position: int, implicit: bool) -> Element:
        """The element at `position`. One without a VR among explicit ones is implicit, as some writers mix the two."""
        head = self._read(position, 12)
        if len(head) < 8:
            raise EOFError
        tag = int.from_bytes(head[:2], self._order) << 16 | int.from_bytes(head[2:4], self._order)
        vr = head[4:6]
        if implicit or tag >> 16 == ITEM >> 16 or not _is_vr(vr):
            return Element(tag, "", int.from_bytes(head[4:8], self._order), position + 8)
        if vr not in LONG_VRS:
            return Element(tag, vr.decode(), int.from_bytes(head[6:8], self._order), position + 8)
        if len(head) < 12:
            raise EOFError
        return Element(tag, vr.decode(), int.from_bytes(head[8:], self._order), position + 12)

    def _check_pixel_data(self, implicit: bool) -> None:
        """Steps over the pixel data. Where the file ends with them, their fragments (PS3.5 A.4) need no visit."""
        element = self._head(self.end, implicit)
        if element.length != UNDEFINED_LENGTH or self._read(self._size - 8, 8) != LAST_DELIMITER:
            self._behind(element, implicit)


def _is_vr(code: bytes) -> bool:
    return code.isalpha() and code.isupper()


def _close(nested: list[tuple[bool, bool]], delimiter: int) -> None:
    """Ends the innermost item or sequence. The end of a sequence also ends an item left open; one too many is passed over."""
    if delimiter == SEQUENCE_END and nested[-1][0]:
        nested.pop()
    if nested and nested[-1][0] == (delimiter == ITEM_END):
        nested.pop()
