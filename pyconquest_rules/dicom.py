"""Words of the DICOM Standard that every floor uses: keywords, tags, VRs, Query/Retrieve levels and paths to nested elements."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import NamedTuple

from pyconquest_rules.errors import Mistake, did_you_mean


class Level(StrEnum):
    """A Query/Retrieve level (PS3.4 C.6.1.1), top first."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    IMAGE = "image"

    @property
    def key(self) -> str:
        """The keyword of the unique key of this level (PS3.4 C.6.1.1.2 ff.)."""
        return KEYS[self]


KEYS = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}


Value = str | tuple[str | None, ...] | None
"""The text of an element, None if it has none; for every item of a sequence, a tuple of these."""


def unpadded(text: str | None) -> str:
    """Return a PatientID, UID or code without padding spaces at both ends (PS3.5 6.2); "" for None."""
    return text.strip(" ") if text else ""


class Element(NamedTuple):
    """The entry of the data dictionary (PS3.6) for a tag."""

    VR: str
    VM: str
    name: str
    retired: str
    keyword: str


@cache
def dictionary() -> Mapping[int, Element]:
    """Return the data dictionary of PS3.6 by tag, as pydicom ships it.

    It is read from pydicom's table alone, because importing the package takes half a second.
    """
    package = find_spec("pydicom")
    if package is None or package.origin is None:
        raise ImportError("pyconquest-rules needs pydicom")
    spec = spec_from_file_location("_pydicom_dictionary", Path(package.origin).with_name("_dicom_dict.py"))
    if spec is None or spec.loader is None:
        raise ImportError("the data dictionary of pydicom cannot be read")
    table = module_from_spec(spec)
    spec.loader.exec_module(table)
    return {tag: Element(*entry) for tag, entry in table.DicomDictionary.items()}


@cache
def tags() -> Mapping[str, int]:
    """Return every keyword of PS3.6 with its tag."""
    return {element.keyword: tag for tag, element in dictionary().items() if element.keyword}


def keyword(tag: int) -> str | None:
    """Return the keyword of a tag; None if PS3.6 does not name it."""
    element = dictionary().get(tag)
    return element.keyword or None if element else None


ALL = -1
"""In a TagPath: every item of a sequence."""

CREATORS = range(0x10, 0x100)
"""The element numbers of private creators (PS3.5 7.8.1)."""


@dataclass(frozen=True, slots=True)
class TagPath:
    """The path to an element: items of sequences, then the element's tag. `path` is empty for a top-level element.

    An item is its number from 0, or ALL. With a private `creator`, `tag` is the group and the element's offset in the
    block that this creator reserved in a file (PS3.5 7.8.1).
    """

    path: tuple[tuple[int, int], ...]
    tag: int
    creator: str | None = None

    @property
    def all_items(self) -> bool:
        """Whether the path names the elements of every item of a sequence."""
        return any(item == ALL for _, item in self.path)

    @property
    def tags(self) -> frozenset[int]:
        """Every tag on the path, including the creators of private elements."""
        steps = {tag for tag, _ in self.path}
        if self.creator is None:
            return frozenset(steps | {self.tag})
        group, offset = self.tag & ~0xFFFF, self.tag & 0xFF
        return frozenset(steps | {group | block for block in CREATORS} | {group | block << 8 | offset for block in CREATORS})

    def __str__(self) -> str:
        """Return the path in hexadecimal, as in the rules file: `300a,0070[0].300c,0004[*].300a,0084`."""
        steps = [f"{_hex(tag)}[{'*' if item == ALL else item}]" for tag, item in self.path]
        last = _hex(self.tag) if self.creator is None else f'{self.tag >> 16:04x},"{self.creator}",{self.tag & 0xFF:02x}'
        return ".".join([*steps, last])


def _hex(tag: int) -> str:
    return f"{tag >> 16:04x},{tag & 0xFFFF:04x}"


PART = re.compile(
    r"""(?:(?P<keyword>[A-Za-z][A-Za-z0-9]*)|(?P<hex>[0-9A-Fa-f]{4},[0-9A-Fa-f]{4})
    |(?P<group>[0-9A-Fa-f]{4}),"(?P<creator>[^"\\]{1,64})",(?P<offset>[0-9A-Fa-f]{2}))(?:\[(?P<item>\d{1,5}|\*)\])?""",
    re.VERBOSE,
)


def tag_path(text: str) -> TagPath:
    """Parse a TagPath from `BeamDose`, `300a,0084`, `BeamSequence[*].300a,00c2` or `0011,"ACME SITE 1",20`.

    Items count from 0; `[*]` is every item. Raises Mistake if a part is neither a keyword of PS3.6 nor a tag, if a sequence
    has no item, or if an element that is not a sequence has one.
    """
    parts = re.findall(r'(?:[^."]|"[^"]*"?)+|(?<=\.)(?=\.|$)|^$', text)
    *path, last = (_part(part, final=number == len(parts)) for number, part in enumerate(parts, start=1))
    tag, _, creator = last
    return TagPath(tuple((step, item) for step, item, _ in path if item is not None), tag, creator)


def _part(part: str, *, final: bool) -> tuple[int, int | None, str | None]:
    """Return the tag, the item and the private creator of one part. `final`: the part names the element itself."""
    match = PART.fullmatch(part)
    if not match:
        hint = 'write "BeamDose", "300a,0084" or \'0011,"PRIVATE CREATOR",20\''
        raise Mistake(f'"{part}" is neither a DICOM keyword nor a tag', fragment=part or None, hint=hint)
    tag, sequence = _tag(match)
    item = None if match["item"] is None else ALL if match["item"] == "*" else int(match["item"])
    if final and item is not None:
        raise Mistake(
            f'"{part}" names an item, not an element', fragment=part, hint="end with the element of the item that you want"
        )
    if final and sequence:
        raise Mistake(f'"{part}" is a sequence', fragment=part, hint=f'name an element of it: "{part}[0].…"')
    if not final and (sequence is False or match["creator"]):
        raise Mistake(f'"{part}" is not a sequence', fragment=part)
    if not final and item is None:
        hint = f'write "{part}[0]" for the first item, "{part}[*]" for all'
        raise Mistake(f'"{part}" needs the number of an item', fragment=part, hint=hint)
    return tag, item, match["creator"]


def _tag(match: re.Match[str]) -> tuple[int, bool | None]:
    """Return the tag of a part, and whether it is a sequence; None if PS3.6 does not say."""
    if match["creator"]:
        if int(match["group"], 16) % 2 == 0:
            raise Mistake(f"private elements have odd groups, {match['group']} is even", fragment=match["group"])
        return int(match["group"], 16) << 16 | int(match["offset"], 16), None
    if match["hex"]:
        tag = int(match["hex"].replace(",", ""), 16)
    elif match["keyword"] in tags():
        tag = tags()[match["keyword"]]
    else:
        word = match["keyword"]
        raise Mistake(f'unknown DICOM keyword "{word}"', fragment=word, hint=near_keyword(word))
    element = dictionary().get(tag)
    return tag, element.VR == "SQ" if element else None


@lru_cache(1000)
def near_keyword(word: str) -> str | None:
    """Return a hint with a keyword similar to an unknown one, if any."""
    return did_you_mean(word, tags())
