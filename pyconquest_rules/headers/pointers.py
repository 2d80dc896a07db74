"""The instances that a data set references one by one, such as the slices of a structure set or the images of a segmentation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pyconquest_rules.dicom import tag_path, unpadded
from pyconquest_rules.headers.dataset import FAILURES, MOST_ITEMS, DataSet, Items, Level
from pyconquest_rules.headers.scanning import Encoding
from pyconquest_rules.headers.values import TooLong

MODALITY = tag_path("Modality")
INSTANCE, SOP_CLASS, SERIES = (
    tag_path(k).tag for k in ("ReferencedSOPInstanceUID", "ReferencedSOPClassUID", "SeriesInstanceUID")
)

LONGEST_REPEATED = 256
"""The length of sequences that are compared with earlier ones. A sequence of one item takes about 120 bytes."""

DEEPEST = 50
"""How deep a sequence may nest in itself."""


class Pointer(NamedTuple):
    """A referenced instance. Without a `SOPInstanceUID`, it stands for references that could not be read.

    `sequences` are the top-level sequences with the reference.
    """

    SOPInstanceUID: str | None
    SOPClassUID: str | None
    SeriesInstanceUID: str | None
    sequences: tuple[str, ...]


class Place(NamedTuple):
    """A place for references. `series` leads to items that may have their SeriesInstanceUID, `instances` from there to them.

    `sequence` is the keyword of the top-level sequence. `nests`: both paths may repeat in their items, as in the content tree of
    a report.
    """

    sequence: str
    series: Items
    instances: Items
    nests: bool = False

    @property
    def tags(self) -> frozenset[int]:
        """Every tag on the paths."""
        return frozenset({INSTANCE, SOP_CLASS, SERIES, *(tag for tag, _ in (*self.series, *self.instances))})


@dataclass(frozen=True, slots=True)
class Pointing:
    """The places to read in instances whose modality is one of `modalities`."""

    modalities: frozenset[str]
    places: tuple[Place, ...]

    @property
    def tags(self) -> frozenset[int]:
        """Every tag on the paths."""
        return frozenset[int]().union(*(place.tags for place in self.places))


def pointers(dataset: DataSet, places: Iterable[Place]) -> tuple[Pointer, ...]:
    """Return the referenced instances in order, each once, then one pointer without UID for each place that cannot be read.

    The limits on items and texts are those of a path over all items (`dataset.DataSet`).
    """
    found = dict[str, Pointer]()
    lost = list[Pointer]()
    for place in places:
        try:
            for each in _at(dataset, place):
                uid = each.SOPInstanceUID or ""
                found[uid] = _together(found[uid], each) if uid in found else each
        except FAILURES as failure:
            dataset.note(failure)
            lost.append(Pointer(None, None, None, (place.sequence,)))
    return (*found.values(), *dict.fromkeys(lost))


def _at(dataset: DataSet, place: Place) -> Iterator[Pointer]:
    left, (*between, last) = MOST_ITEMS, place.instances
    below = _nested if place.nests else DataSet.below
    for outer in below(dataset, dataset.top, place.series):
        series = unpadded(dataset.text(outer, SERIES)) if place.series else None
        before = set[tuple[bytes, Encoding]]()
        for parent in dataset.below(outer, tuple(between)):
            raw = dataset.short(parent, last[0], LONGEST_REPEATED)
            if raw and (raw, parent.written) in before:  # all contours of a slice reference it by the same bytes
                continue
            before.add((raw, parent.written))
            for item in below(dataset, parent, (last,)):
                left -= 1
                if left < 0:
                    raise TooLong
                if uid := unpadded(dataset.text(item, INSTANCE)):
                    yield Pointer(uid, unpadded(dataset.text(item, SOP_CLASS)) or None, series or None, (place.sequence,))


def _nested(dataset: DataSet, level: Level, items: Items, depth: int = 1) -> Iterator[Level]:
    """Yield every level within `items`, and within these again. Raises TooLong if they nest deeper than DEEPEST."""
    for inner in dataset.below(level, items):
        if depth > DEEPEST:
            raise TooLong
        yield inner
        yield from _nested(dataset, inner, items, depth + 1)


def _together(first: Pointer, again: Pointer) -> Pointer:
    return Pointer(
        first.SOPInstanceUID,
        first.SOPClassUID or again.SOPClassUID,
        first.SeriesInstanceUID or again.SeriesInstanceUID,
        first.sequences if again.sequences[0] in first.sequences else (*first.sequences, *again.sequences),
    )
