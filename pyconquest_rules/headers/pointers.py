"""The instances that a data set names one by one: the slices of a structure set, the images of a segmentation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pyconquest_rules.dicom import tag_path, unpadded
from pyconquest_rules.headers.dataset import FAILURES, MOST_ITEMS, DataSet, Items
from pyconquest_rules.headers.scanning import Encoding
from pyconquest_rules.headers.values import TooLong

MODALITY = tag_path("Modality")
INSTANCE, SOP_CLASS, SERIES = (
    tag_path(k).tag for k in ("ReferencedSOPInstanceUID", "ReferencedSOPClassUID", "SeriesInstanceUID")
)

# What is looked for again: a sequence of one item takes some 120 bytes.
LONGEST_REPEATED = 256


class Pointer(NamedTuple):
    """An instance that is named; without a `SOPInstanceUID`, instances that could not be read.

    `sequences` are the top-level sequences that name it.
    """

    SOPInstanceUID: str | None
    SOPClassUID: str | None
    SeriesInstanceUID: str | None
    sequences: tuple[str, ...]


class Place(NamedTuple):
    """Where instances are named. `series` leads to the items that may tell their series, `instances` on to those that name them.

    `sequence` is the keyword of the sequence at the top.
    """

    sequence: str
    series: Items
    instances: Items

    @property
    def tags(self) -> frozenset[int]:
        """Every tag that is met on the way."""
        return frozenset({INSTANCE, SOP_CLASS, SERIES, *(tag for tag, _ in (*self.series, *self.instances))})


@dataclass(frozen=True, slots=True)
class Pointing:
    """The places that are read of an instance whose modality is one of `modalities`."""

    modalities: frozenset[str]
    places: tuple[Place, ...]

    @property
    def tags(self) -> frozenset[int]:
        """Every tag that is met on the way."""
        return frozenset[int]().union(*(place.tags for place in self.places))


def pointers(dataset: DataSet, places: Iterable[Place]) -> tuple[Pointer, ...]:
    """The instances that a data set names, each once, in their order; None in the place of those that cannot be read.

    Items of one place and all texts together are limited as those of a path over all items: see `dataset.DataSet`.
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
    for outer in dataset.below(dataset.top, place.series):
        series = unpadded(dataset.text(outer, SERIES)) if place.series else None
        before = set[tuple[bytes, Encoding]]()
        for parent in dataset.below(outer, tuple(between)):
            raw = dataset.short(parent, last[0], LONGEST_REPEATED)
            if raw and (raw, parent.written) in before:  # all contours in a slice name it in the same bytes
                continue
            before.add((raw, parent.written))
            for item in dataset.below(parent, (last,)):
                left -= 1
                if left < 0:
                    raise TooLong
                if uid := unpadded(dataset.text(item, INSTANCE)):
                    yield Pointer(uid, unpadded(dataset.text(item, SOP_CLASS)) or None, series or None, (place.sequence,))


def _together(first: Pointer, again: Pointer) -> Pointer:
    return Pointer(
        first.SOPInstanceUID,
        first.SOPClassUID or again.SOPClassUID,
        first.SeriesInstanceUID or again.SeriesInstanceUID,
        first.sequences if again.sequences[0] in first.sequences else (*first.sequences, *again.sequences),
    )
