"""The positions of the slices of image series: table `rules_slices`, and `geometry` with one row for each series."""

import math
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from pyconquest_rules.dicom import Value, tag_path

POSITION = tag_path("ImagePositionPatient")
ORIENTATION = tag_path("ImageOrientationPatient")
LOCATION = tag_path("SliceLocation")

PATHS = (POSITION, ORIENTATION, LOCATION)

TOLERANCE = 0.1
"""How much the distances of neighbours may differ in a uniform series, in mm. As in pyconquest."""

STALE = "geometry"
"""The level of `rules_stale` whose keys are series to be measured."""

ALL = -1

COLUMNS = ("NumberOfSlices", "FirstPosition", "LastPosition", "ScanRange", "SliceSpacing", "IsUniform")

TABLES = (
    "CREATE TABLE rules_slices (SOPInstanceUID TEXT PRIMARY KEY, SeriesInstanceUID TEXT, Position REAL, Orientation TEXT)"
    " WITHOUT ROWID",
    "CREATE INDEX rules_slices_series ON rules_slices (SeriesInstanceUID)",
    "CREATE TABLE geometry (SeriesInstanceUID TEXT PRIMARY KEY, NumberOfSlices INT, FirstPosition REAL, LastPosition REAL,"
    " ScanRange REAL, SliceSpacing REAL, IsUniform INT) WITHOUT ROWID",
)


class Slice(NamedTuple):
    """A slice: its position along its normal in mm, and its rounded orientation as text; "" if it has none."""

    position: float
    orientation: str


def slice_of(image_position: Value, image_orientation: Value, slice_location: Value) -> Slice | None:
    """Return the slice of an instance with these values of PATHS; None if they do not define one.

    ImagePositionPatient and ImageOrientationPatient (PS3.3 C.7.6.2) are preferred to SliceLocation.
    """
    position, orientation = _numbers(image_position, 3), _orientation(image_orientation)
    if position and orientation:
        normal, text = orientation
        return Slice(sum(p * n for p, n in zip(position, normal, strict=True)), text)
    location = _numbers(slice_location, 1)
    return Slice(location[0], "") if location else None


@lru_cache(256)  # all slices of a series have the same
def _orientation(value: Value) -> tuple[list[float], str] | None:
    """Return the normal of an orientation, and the rounded orientation as text."""
    orientation = _numbers(value, 6)
    if not orientation:
        return None
    row, column = orientation[:3], orientation[3:]
    normal = [row[(n + 1) % 3] * column[(n + 2) % 3] - row[(n + 2) % 3] * column[(n + 1) % 3] for n in range(3)]
    return normal, "\\".join(f"{round(number, 3) + 0.0:.3f}" for number in orientation)


def _numbers(value: Value, count: int) -> list[float] | None:
    try:
        numbers = [float(part) for part in value.split("\\", count)] if isinstance(value, str) else []
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def measure(connection: sqlite3.Connection, series: Iterable[str]) -> None:
    """Compute the rows of `geometry` of these series from `rules_slices`."""
    for uid in series:
        slices = connection.execute(
            "SELECT Position, Orientation FROM rules_slices WHERE SeriesInstanceUID = ?", (uid,)
        ).fetchall()
        if slices:
            connection.execute("INSERT OR REPLACE INTO geometry VALUES (?, ?, ?, ?, ?, ?, ?)", (uid, *_summary(slices)))
        else:
            connection.execute("DELETE FROM geometry WHERE SeriesInstanceUID = ?", (uid,))


def postpone(connection: sqlite3.Connection, series: Iterable[str]) -> None:
    """Note series to be measured later. A kill cannot lose them, because they are in `rules_stale`."""
    connection.executemany("INSERT OR IGNORE INTO rules_stale VALUES (?, ?)", ((STALE, uid) for uid in series))


def stale(connection: sqlite3.Connection, most: int = 1) -> list[str]:
    """Return up to `most` series, or ALL, whose row of `geometry` is out of date."""
    query = "SELECT key FROM rules_stale WHERE level = ? LIMIT ?"
    return [uid for (uid,) in connection.execute(query, (STALE, most))]


def measure_stale(connection: sqlite3.Connection, series: Iterable[str]) -> None:
    """Measure series that were postponed, within the transaction of the caller."""
    for uid in series:
        measure(connection, [uid])
        connection.execute("DELETE FROM rules_stale WHERE level = ? AND key = ?", (STALE, uid))


def _summary(slices: list[tuple[float, str]]) -> tuple[int, float, float, float, float | None, int]:
    """Return number, first and last position, range, spacing (None for one slice or uneven ones), and whether they are uniform.

    Several slices at one position, as in time series, count as one position. Slices of several orientations are not uniform.
    """
    places = sorted({round(position, 3) for position, _ in slices})
    gaps = [after - before for before, after in pairwise(places)]
    even = len({orientation for _, orientation in slices}) == 1 and (not gaps or max(gaps) - min(gaps) <= TOLERANCE)
    spacing = round(sum(gaps) / len(gaps), 3) if gaps and even else None
    return len(slices), places[0], places[-1], round(places[-1] - places[0], 3), spacing, int(even)
