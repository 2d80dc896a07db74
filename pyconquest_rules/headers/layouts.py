"""The fast reader for the values of many data sets, for regular files.

It leaves irregular files to the careful reader, `dataset.py`. Both return the same values for every regular file.
"""

from collections.abc import Set
from typing import NamedTuple

from pyconquest_rules.dicom import TagPath, Value
from pyconquest_rules.headers import values
from pyconquest_rules.headers.charsets import charset
from pyconquest_rules.headers.dataset import CHARACTER_SET, ENDS, PIXEL_REPRESENTATION, DataSet, standard_vr
from pyconquest_rules.headers.dialect import LONGEST_TEXT, Dialect, Odd, Role
from pyconquest_rules.headers.elements import UNDEFINED_LENGTH, WITHOUT_VR, Window
from pyconquest_rules.headers.scanning import Encoding, Scanned, encoding
from pyconquest_rules.headers.stepping import head

# The elements that may come before the character set.
BEFORE = range(0x00080000, CHARACTER_SET)


class Found(NamedTuple):
    """The values of the wanted paths, the SOP Class UID and SOP Instance UID, and the tag where the data set ended."""

    values: tuple[Value, ...]
    SOPClassUID: str | None
    SOPInstanceUID: str | None
    ended_at: int | None


class Layouts:
    """Reads data sets for the same wanted paths. It remembers the bytes that they have in common."""

    def __init__(self, paths: tuple[TagPath, ...], tags: Set[int], first: tuple[int, int]) -> None:
        """`tags` are all tags on the wanted paths, `first` the tags of SOP Class UID and SOP Instance UID."""
        self._paths, self._tags = paths, tags
        located = {tag for path in paths for tag in _at_the_top(path)}
        if any(standard_vr(tag).startswith("US or SS") for tag in self._tags):
            located.add(PIXEL_REPRESENTATION)
        self._inner = [place for place, path in enumerate(paths) if located & {path.tag} or path.path or path.creator]
        self._roles: dict[int, Role] = dict.fromkeys(located, Role.LOCATED) | dict.fromkeys(ENDS, Role.END)
        self._roles |= dict.fromkeys({CHARACTER_SET} | WITHOUT_VR, Role.ODD)
        self._places: dict[int, tuple[int, ...]] = {}
        for place, tag in enumerate([*(path.tag for path in paths), *first]):
            if place not in self._inner:
                self._places[tag] = (*self._places.get(tag, ()), place)
        self._vrs = {tag: standard_vr(tag) for tag in self._places}
        self._dialects: dict[Encoding, Dialect] = {}
        self._opening: _Opening | None = None

    def read(self, window: Window, start: int) -> Found:
        """Return the values of the data set at `start`. Raises Odd or EOFError if the careful reader has to read it."""
        opening = self._opening
        if opening is None or not window.data.startswith(opening.raw, start - window.base):
            opening = self._opening = self._open(window, start)
        found, located, ended_at = opening.dialect.scan(window, start + opening.size)
        for place in self._places.get(CHARACTER_SET, ()):
            found[place] = opening.text
        if located:
            dataset = DataSet(window, opening.dialect.written, self._tags, Scanned(located, 0, ended_at))
            found.update((place, dataset.found(self._paths[place])) for place in self._inner)
        *texts, sop_class, sop_instance = found.values()
        return Found(tuple(texts), sop_class, sop_instance, ended_at)  # type: ignore[arg-type]

    def _open(self, window: Window, start: int) -> "_Opening":
        """Return the opening of the data set at `start`. No element before its character set is wanted."""
        written, position = encoding(window, start), start
        while True:
            if window.size - position < 8:
                raise Odd
            element = head(window, position, written.order, written.implicit)
            if element.tag not in BEFORE or element.tag in self._tags or element.length == UNDEFINED_LENGTH:
                break
            position = element.position + element.length
        raw_charset = b""
        if element.tag == CHARACTER_SET:
            position = element.position + element.length
            raw_charset = window.at(element.position, min(element.length, LONGEST_TEXT))
            if element.vr not in ("CS", "") or len(raw_charset) < element.length:
                raise Odd
        if window.notes:
            raise Odd
        written = written._replace(codec=charset(raw_charset))
        if written not in self._dialects:
            self._dialects[written] = Dialect(written, self._places, self._vrs, self._roles, len(self._paths) + 2)
        raw = window.at(start, element.position + len(raw_charset) - start)
        return _Opening(raw, position - start, self._dialects[written], values.text(raw_charset, "CS", True, written.codec))


class _Opening(NamedTuple):
    """The beginning of a data set: its bytes and size, the dialect that they imply, and the text of the character set."""

    raw: bytes
    size: int
    dialect: "Dialect"
    text: str | None


def _at_the_top(path: TagPath) -> frozenset[int]:
    """Return the top-level tags whose elements the careful reader reads for a path."""
    if path.path:
        return frozenset({path.path[0][0]})
    return path.tags if path.creator else frozenset()
