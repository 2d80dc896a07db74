"""Scanning the data sets of one dialect, which is an encoding with its wanted elements.

Files of one series, and of one scanner, have most of their bytes in common. Runs of elements that are identical in two files
are remembered with the texts of their wanted elements. When a run is found again, one comparison of bytes replaces reading
its elements. This is exact, because the texts of a run depend only on its bytes and the dialect.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import pairwise
from struct import Struct, error
from typing import NamedTuple

from pyconquest_rules.dicom import Value
from pyconquest_rules.headers import values
from pyconquest_rules.headers.dataset import PIXEL_DATA, VRS
from pyconquest_rules.headers.elements import LONG_VRS, SHORT_VRS, UNDEFINED_LENGTH, WINDOW, Element, Window
from pyconquest_rules.headers.scanning import Encoding, check_pixel_data
from pyconquest_rules.headers.stepping import behind

MANY_NEW = 12
"""A file with more elements outside runs is worth learning from. Within a series, about ten elements differ."""

# The memory is bounded: by the number of runs, the bytes of each, and the texts of a VR. A full cache is cleared.
MOST_RUNS, LONGEST_RUN = 1000, 4096
MOST_TEXTS, LONGEST_TEXT = 2000, 64

LONGEST_PAUSE = 15
"""The most files in a row that are not learned from, if learning did not help."""

# The position of an element, and its places and text if it was wanted. Places are None if it cannot be part of a run.
Seen = list[tuple[int, tuple[int, ...] | None, str | None]]


class Odd(Exception):
    """The careful reader has to read the data set."""


class Role(Enum):
    """The role of a tag that is not just a wanted value: it ends the scan, has to be located, or is odd."""

    END = 1
    LOCATED = 2
    ODD = 3


class _Texts(dict[bytes, str | None]):
    """A cache of the texts of values of one VR."""

    def __init__(self, vr: str, little: bool, codec: str) -> None:
        self._how = vr, little, codec

    def __missing__(self, raw: bytes) -> str | None:
        if len(raw) > values.LONG:  # the careful reader counts long values
            raise Odd
        try:
            text = values.text(raw, *self._how)
        except values.Unreadable:
            raise Odd from None
        if len(raw) <= LONGEST_TEXT:
            if len(self) >= MOST_TEXTS:
                self.clear()
            self[raw] = text
        return text


class _Wanted(NamedTuple):
    """A wanted element: its places among the values, and the texts of its bytes by the VR in the file.

    `by_standard` is for files without a VR, or with UN; None if PS3.6 has several VRs.
    """

    places: tuple[int, ...]
    by_vr: Mapping[bytes, _Texts]
    by_standard: _Texts | None


class _Run(NamedTuple):
    """Consecutive elements: their bytes, and the texts of wanted elements by their places."""

    raw: bytes
    size: int
    texts: dict[int, str | None]


class Dialect:
    """Data sets of one encoding: their wanted elements, and the runs that were seen in them."""

    def __init__(
        self,
        written: Encoding,
        places: Mapping[int, tuple[int, ...]],
        vrs: Mapping[int, str],
        roles: Mapping[int, Role],
        number: int,
    ) -> None:
        """`places` and `vrs` are by wanted tag. `number` is the number of places, of which the last two are for the UIDs."""
        self.written, little = written, written.order == "little"
        sign, vr_and_length = "<" if little else ">", "0sI" if written.implicit else "2sH"
        self.head, self.length = Struct(f"{sign}I{vr_and_length}").unpack_from, Struct(f"{sign}I").unpack_from
        self.short_vrs = frozenset({b""}) if written.implicit else SHORT_VRS
        self.nothing: dict[int, Value] = dict.fromkeys(range(number))
        texts = {vr: _Texts(vr, little, written.codec) for vr in (*VRS, "UN")}
        by_vr, of_uid = {vr.encode(): texts[vr] for vr in VRS}, {b"UI": texts["UI"]}
        self.actions: dict[int, _Wanted | Role] = {}
        for tag, at in places.items():
            self.actions[self._number(tag)] = _Wanted(at, of_uid if at[-1] >= number - 2 else by_vr, texts.get(vrs[tag]))
        self.actions.update((self._number(tag), role) for tag, role in roles.items())
        self.runs: dict[bytes, _Run] = {}
        self.before: tuple[bytes, Seen] | None = None
        self.pause = self.wait = 0

    def _number(self, tag: int) -> int:
        """Return a tag as `head` unpacks it, or the reverse. In little endian, the element number is the upper half there."""
        return (tag & 0xFFFF) << 16 | tag >> 16 if self.written.order == "little" else tag

    def scan(self, window: Window, start: int) -> tuple[dict[int, Value], dict[int, Element], int | None]:
        """Return the texts by place, the located elements, and the tag that ended the data set; None if the file ended it.

        Raises Odd or EOFError if the careful reader has to read the data set.
        """
        found, located = self.nothing.copy(), dict[int, Element]()
        run_at, head, action_of, short_vrs = self.runs.get, self.head, self.actions.get, self.short_vrs
        data, base, position = window.data, window.base, start - window.base
        seen: Seen = []
        first = data, seen
        while True:
            run = run_at(data[position : position + 8])
            if run is not None and data.startswith(run.raw, position):
                seen.append((position, None, None))
                found.update(run.texts)
                position += run.size
                continue
            try:
                number, vr, length = head(data, position)
                if vr in short_vrs:
                    value = position + 8
                elif vr in LONG_VRS:
                    value = position + 12
                    (length,) = self.length(data, position + 8)
                else:
                    raise Odd
            except error:  # the end of the window or of the file
                seen.append((position, None, None))
                if _at_end(window, base + position, position):
                    ended_at = None
                    break
                window.step(len(seen))
                base, position, seen = base + position, 0, []
                data = window.at(base, WINDOW)
                continue
            action = action_of(number)
            if action is None:
                seen.append((position, (), None))
            elif type(action) is _Wanted:
                texts, end = action.by_vr.get(vr, action.by_standard), value + length
                if texts is None:
                    raise Odd
                if end <= len(data):
                    text = texts[data[value:end]]
                else:
                    text = texts[window.at(base + value, min(length, values.LONG + 1))] if length != UNDEFINED_LENGTH else None
                for place in action.places:
                    found[place] = text
                seen.append((position, action.places, text))
            else:
                seen.append((position, None, None))
                element = Element(self._number(number), vr.decode(), length, base + value)
                if action is Role.END:
                    ended_at = element.tag
                    break
                if action is Role.ODD:
                    raise Odd
                located[element.tag] = element
            if length == UNDEFINED_LENGTH:
                unknown = Element(self._number(number), vr.decode(), length, base + value)
                position = behind(window, unknown, self.written.order, self.written.implicit) - base
            else:
                position = value + length
        if ended_at in PIXEL_DATA and (length == UNDEFINED_LENGTH or base + value + length > window.size):
            check_pixel_data(window, base + position, self.written)
        if window.notes:
            raise Odd
        if len(first[1]) > MANY_NEW:
            self._learn(*first)
        else:
            self.pause = 0
        return found, located, ended_at

    def _learn(self, data: bytes, seen: Seen) -> None:
        """Remember what this file has in common with the last one that was worth learning from."""
        before, self.before = self.before, (data[:WINDOW], seen)
        if before is None or self.wait:
            self.wait = max(0, self.wait - 1)
            return
        self.wait, self.pause = self.pause, min(2 * self.pause + 1, LONGEST_PAUSE)
        if len(self.runs) > MOST_RUNS:
            self.runs.clear()
        known = {raw for raw, places, _ in _elements(*before) if places is not None}
        raw, texts = b"", dict[int, str | None]()
        for more, places, text in (*_elements(data, seen), (b"", None, None)):
            shared = places is not None and more in known
            if raw and not (shared and len(raw) + len(more) <= LONGEST_RUN):
                self.runs[raw[:8]] = _Run(raw, len(raw), texts)
                raw, texts = b"", {}
            if shared:
                raw, texts = raw + more, texts | dict.fromkeys(places or (), text)


def _elements(data: bytes, seen: Seen) -> Iterator[tuple[bytes, tuple[int, ...] | None, str | None]]:
    """Yield bytes, places and text of the elements that lie in `data`."""
    for (position, places, text), (end, *_) in pairwise(seen):
        if end <= len(data):
            yield data[position:end], places, text


def _at_end(window: Window, position: int, in_window: int) -> bool:
    """Return whether the data set ends at `position`, not just the window, where it is byte `in_window`. Raises Odd."""
    left = window.size - position
    # Odd: the rest is too short for an element but not padding, or the whole rest was in the window and has no valid head.
    if left < 0 or (left < 8 and window.at(position, left).strip(b"\0")) or (left >= 8 and in_window == 0):
        raise Odd
    return left < 8
