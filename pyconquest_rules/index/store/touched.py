"""Rows of the Conquest tables that another program inserted, changed or deleted. Triggers note them in `rules_touched`."""

import sqlite3
from collections.abc import Iterator

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.store.schema import LEVELS, Schema, quoted
from pyconquest_rules.index.store.views import patient_of_images


def is_touched(connection: sqlite3.Connection) -> bool:
    """Return whether another program wrote rows since touched rows were last taken back."""
    return connection.execute("SELECT 1 FROM rules_touched LIMIT 1").fetchone() is not None


def touched_files(connection: sqlite3.Connection, schema: Schema) -> Iterator[tuple[str, bytes, int, int]]:
    """Yield the files (device, path, size, mtime_ns) from which touched rows are written again; some come more than once."""
    for query in _queries(schema):
        yield from connection.execute(query).fetchall()


def _queries(schema: Schema) -> Iterator[str]:
    """Yield queries for these files.

    For a touched image: its own file. For a row above: the first file of each of its series, and all strays of a study.
    """
    file = "SELECT f.device, CAST(f.path AS BLOB), f.size, f.mtime_ns FROM rules_files AS f WHERE f.outcome = 'indexed'"
    touched = "SELECT key FROM rules_touched WHERE level = '{}'".format
    yield f"{file} AND f.SOPInstanceUID IN ({touched(Level.IMAGE.value)})"
    strays = f"SELECT SOPInstanceUID FROM rules_strays WHERE StudyInstanceUID IN ({touched(Level.STUDY.value)})"
    yield f"{file} AND f.SOPInstanceUID IN ({strays})"
    image, link = quoted(schema.key(Level.IMAGE)), quoted(schema.level(Level.IMAGE)[-1].column)
    order = f"({image} IN (SELECT SOPInstanceUID FROM rules_strays)) || DeviceName || '/' || ObjectFile"  # strays last
    for level in LEVELS[:-1]:
        images = f"({patient_of_images(schema)})" if level is Level.PATIENT else "images"
        series = f"SELECT SeriesInstanceUID FROM {images} WHERE {level.key} IN ({touched(level.value)})"
        first = f"SELECT {image}, min({order}) FROM DICOMImages WHERE {link} IN ({series}) GROUP BY {link}"
        yield f"{file} AND f.SOPInstanceUID IN (SELECT {image} FROM ({first}))"


def foreign_images(connection: sqlite3.Connection, schema: Schema) -> list[str]:
    """Return the keys of touched image rows for which the index has no file."""
    key = quoted(schema.key(Level.IMAGE))
    query = (
        f"SELECT {key} FROM DICOMImages WHERE {key} IN (SELECT key FROM rules_touched WHERE level = '{Level.IMAGE.value}')"
        f" AND NOT EXISTS (SELECT 1 FROM rules_files AS f WHERE f.SOPInstanceUID = {key} AND f.outcome = 'indexed')"
    )
    return [uid for (uid,) in connection.execute(query).fetchall()]


def clear_touched(connection: sqlite3.Connection) -> None:
    """Clear the notes, but for images whose files the index still has: their rows are not written again yet."""
    known = "SELECT 1 FROM rules_files AS f WHERE f.SOPInstanceUID = rules_touched.key AND f.outcome = 'indexed'"
    connection.execute(f"DELETE FROM rules_touched WHERE level != 'image' OR NOT EXISTS ({known})")
