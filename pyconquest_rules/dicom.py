"""Words of the DICOM Standard that every floor uses: keywords, tags, VRs, Query/Retrieve levels and paths to nested elements."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
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


class Element(NamedTuple):
    """What the data dictionary (PS3.6) says of a tag."""

    VR: str
    VM: str
    name: str
    retired: str
    keyword: str


@cache
def dictionary() -> Mapping[int, Element]:
    """The data dictionary of PS3.6 as pydicom ships it, by tag.

    Read from pydicom's table alone: importing the package pydicom takes half a second, which no command that only
    checks names should pay.
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
    """Every keyword of PS3.6 with its tag."""
    return {element.keyword: tag for tag, element in dictionary().items() if element.keyword}


def keyword(tag: int) -> str | None:
    """The keyword of a tag, None for one that PS3.6 does not name."""
    element = dictionary().get(tag)
    return element.keyword or None if element else None


@dataclass(frozen=True, slots=True)
class TagPath:
    """The way to an element: items of sequences, then the element's tag. `path` is empty for a top-level element."""

    path: tuple[tuple[int, int], ...]
    tag: int

    def __str__(self) -> str:
        """In hexadecimal, as the rules file may say it: `300a,0070[0].300c,0004[0].300a,0084`."""
        steps = [f"{tag >> 16:04x},{tag & 0xFFFF:04x}[{item}]" for tag, item in self.path]
        return ".".join([*steps, f"{self.tag >> 16:04x},{self.tag & 0xFFFF:04x}"])


STEP = re.compile(
    r"(?P<keyword>[A-Za-z][A-Za-z0-9]*)(?:\[(?P<item>\d{1,5})\])?$|(?P<hex>[0-9A-Fa-f]{4},[0-9A-Fa-f]{4})(?:\[(?P<hexitem>\d{1,5})\])?$"
)


def tag_path(text: str) -> TagPath:
    """A TagPath from `BeamDose`, `300a,0084` or `FractionGroupSequence[0].300c,0004[0].BeamDose`.

    Items count from 0. Raises Mistake where a part is no keyword of PS3.6 or no tag, where a sequence has no item
    number, or where a part with an item number is not a sequence.
    """
    steps = [_step(part, last) for part, last in _parts(text)]
    return TagPath(tuple((tag, item) for tag, item in steps[:-1] if item is not None), steps[-1][0])


def _parts(text: str) -> list[tuple[str, bool]]:
    parts = text.split(".")
    return [(part, number == len(parts) - 1) for number, part in enumerate(parts)]


def _step(part: str, last: bool) -> tuple[int, int | None]:
    match = STEP.match(part)
    if not match:
        raise Mistake(f'"{part}" is neither a DICOM keyword nor a tag', fragment=part, hint='write "BeamDose" or "300a,0084"')
    if match["hex"]:
        tag, item = int(match["hex"].replace(",", ""), 16), match["hexitem"]
    else:
        word, item = match["keyword"], match["item"]
        if word not in tags():
            raise Mistake(f'unknown DICOM keyword "{word}"', fragment=word, hint=did_you_mean(word, tags()))
        tag = tags()[word]
    element = dictionary().get(tag)
    if not last and item is None:
        raise Mistake(f'"{part}" needs the number of an item', fragment=part, hint=f'write "{part}[0]" for the first item')
    if last and item is not None:
        raise Mistake(
            f'"{part}" names an item, not an element', fragment=part, hint="end with the element of the item that you want"
        )
    if item is not None and element and element.VR != "SQ":
        raise Mistake(f'"{part}" is not a sequence', fragment=part)
    if last and element and element.VR == "SQ":
        raise Mistake(f'"{part}" is a sequence', fragment=part, hint=f'name an element of it: "{part}[0].…"')
    return tag, int(item) if item is not None else None
