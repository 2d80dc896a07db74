"""The first file of a patient, study or series, which defines its row. It is searched again if that file changed or vanished."""

import sqlite3

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.store.schema import LEVELS, Schema, quoted

ABOVE = tuple(level.value for level in LEVELS[:-1])
STALE = f"FROM rules_stale WHERE level IN {ABOVE}"

DELETE_STALE = "DELETE FROM rules_stale WHERE level = ? AND key = ?"
IS_FIRST = "SELECT 1 FROM rules_first WHERE level = ? AND key = ? AND device = ? AND path = CAST(? AS TEXT)"


def choose_first(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Put the first file of each stale row into `temp.to_define`. Return whether there are any.

    Rows whose first file has not changed are no longer stale. Call it within a transaction.
    """
    connection.execute("DELETE FROM temp.to_define")
    queries = {level.value: _first(schema, level) for level in LEVELS[:-1]}
    for level, key in connection.execute(f"SELECT level, key {STALE}").fetchall():
        first = connection.execute(queries[level], {"key": key}).fetchone()
        if first is None or connection.execute(IS_FIRST, (level, key, *first[:2])).fetchone():
            connection.execute(DELETE_STALE, (level, key))
        else:
            connection.execute("INSERT OR IGNORE INTO temp.to_define VALUES (?, ?, ?, ?)", first)
    return connection.execute("SELECT 1 FROM temp.to_define LIMIT 1").fetchone() is not None


def is_stale(connection: sqlite3.Connection) -> bool:
    """Return whether there are rows whose first file may have changed."""
    return connection.execute(f"SELECT 1 {STALE} LIMIT 1").fetchone() is not None


def all_are_stale(connection: sqlite3.Connection) -> None:
    """Mark every row above the instances as stale."""
    connection.execute("INSERT OR IGNORE INTO rules_stale SELECT level, key FROM rules_first")


def _first(schema: Schema, level: Level) -> str:
    """Return a query for the first file (device, path, size, mtime_ns) of the row :key."""
    image, series = quoted(schema.key(Level.IMAGE)), quoted(schema.key(Level.SERIES))
    of_image, of_series, of_study = (quoted(schema.level(each)[-1].column) for each in reversed(LEVELS[1:]))
    in_study = f"SELECT {series} FROM DICOMSeries WHERE {of_series} = "
    match level:
        case Level.SERIES:
            where = f"i.{of_image} = :key"
        case Level.STUDY:
            stray = f"SELECT 1 FROM rules_strays AS r WHERE r.SOPInstanceUID = i.{image}"
            astray = "SELECT SOPInstanceUID FROM rules_strays WHERE StudyInstanceUID = :key"
            where = f"i.{of_image} IN ({in_study}:key) AND NOT EXISTS ({stray}) OR i.{image} IN ({astray})"
        case _:
            patient = schema.patient_id(Level.IMAGE)
            study = quoted(schema.key(Level.STUDY))
            studies = f"SELECT {study} FROM DICOMStudies WHERE {of_study} = :key"
            in_studies = f"i.{of_image} IN (SELECT {series} FROM DICOMSeries WHERE {of_series} IN ({studies}))"
            where = f"i.{patient} = :key" if patient else in_studies
    return (
        "SELECT f.device, CAST(f.path AS BLOB), f.size, f.mtime_ns FROM DICOMImages AS i"
        " JOIN rules_files AS f ON f.device = i.DeviceName AND f.path = i.ObjectFile"
        f" JOIN rules_sources AS s ON s.device = f.device WHERE {where} ORDER BY s.rank, f.path LIMIT 1"
    )
