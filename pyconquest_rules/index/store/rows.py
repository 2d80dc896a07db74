"""The rows of instances in the four Conquest tables: insert them, and remove them again."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from time import time

from pyconquest_rules.dicom import Level
from pyconquest_rules.disk.file import File
from pyconquest_rules.index.derived.contradictions import OF_ONE_PATIENT
from pyconquest_rules.index.derived.geometry import measure, postpone
from pyconquest_rules.index.store.level_rows import LAST, LevelRows, Position, Written
from pyconquest_rules.index.store.records import Record, Row
from pyconquest_rules.index.store.schema import LEVELS, MODALITIES_IN_STUDY, MODALITY, TABLES, Schema, quoted

MOST_RESHAPED = 10_000
"""How many series wait to be measured at most. If a whole archive is removed, their UIDs would fill the memory."""


class Rows:
    """The rows of instances.

    The first file of a patient, study or series, in the order of sources and paths, defines its row. Table `rules_first` names
    that file. If it changed or vanished, the row is in `rules_stale` until the file that is first now is read (`firsts`).
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        *self.levels_above, self.image = (LevelRows(schema, level) for level in LEVELS)
        self.modalities = _modalities(schema)
        self.above, self.pruning, self.patient_of = _above(schema), list(_pruning(schema)), _patient_of(schema)
        self.reshaped, self.touched = set[str](), False
        """Series to be measured; whether a row above the instances may have lost its last instance."""
        self.reset()

    def reset(self) -> None:
        """Forget which rows were seen last, because another process changed them or a transaction was rolled back."""
        self.home: tuple[str | None, str | None] = (None, None)
        self.last: tuple[Row, ...] = ()
        self.last_at = LAST
        for level in self.levels_above:
            level.last_key = None

    def write(self, connection: sqlite3.Connection, record: Record, device: str, file: File, rank: int) -> None:
        """Insert the row of an instance, and write the rows above that its file defines. `rank` is the number of its source."""
        image, study, now = record.rows[-1], record.rows[-2][-1] or "", time()
        series = image[-1] or ""
        self.write_above(connection, record, device, (rank, file.path))
        place = (int(now), os.fsencode(file.path), device, *record.extras, now, record.content)
        connection.execute(self.image.insert, image + place)
        self.image.keep_full(connection, image[0] or "", record.full[-1])
        self._write_ours(connection, record, series)
        if study != self._study_of(connection, series):
            connection.execute("INSERT OR REPLACE INTO rules_strays VALUES (?, ?)", (record.SOPInstanceUID, study))

    def write_above(self, connection: sqlite3.Connection, record: Record, device: str, at: Position) -> None:
        """Write the patient, study and series rows of an instance whose first file is at this position."""
        above = record.rows[:-1]
        if above == self.last and at >= self.last_at:
            return
        series, study = above[-1][0] or "", above[-1][-1] or ""
        before = self._study_of(connection, series)
        self._compare_patient(connection, str(above[0][0]), {study, before or study})
        levels = zip(self.levels_above, above, record.full, strict=False)
        written = {level.level: how for level, row, full in levels if (how := level.write(connection, row, full, device, at))}
        self.last, self.last_at = above, at
        if Level.SERIES in written:
            self.home = (series, study)
            if before not in (None, study):
                self._move(connection, series, str(before), study)
        if Written.REPLACED in written.values():
            self._recheck_patients(connection, {study, before or study})
        if written.keys() & {Level.STUDY, Level.SERIES}:
            self.update_modalities(connection, [study])

    def _study_of(self, connection: sqlite3.Connection, series: str) -> str | None:
        """Return the study of a series in the index; None if the index does not have the series."""
        if self.home[0] != series:
            fields = self.schema.level(Level.SERIES)
            query = f"SELECT {quoted(fields[-1].column)} FROM DICOMSeries WHERE {quoted(fields[0].column)} = ?"
            self.home = (series, *(connection.execute(query, (series,)).fetchone() or (None,)))
        return self.home[1]

    def _compare_patient(self, connection: sqlite3.Connection, patient: str, studies: set[str]) -> None:
        """Note the studies that the index has under another patient. Call it before the rows of the instance are written."""
        for study in studies:
            row = connection.execute(self.patient_of, (study,)).fetchone()
            if row and row[0] != patient:
                self._recheck_patients(connection, {study})
                connection.execute("INSERT OR IGNORE INTO temp.touched VALUES ('patient', ?)", row)

    def _recheck_patients(self, connection: sqlite3.Connection, studies: set[str]) -> None:
        """Let `prune` find out whether these studies have several patients."""
        for study in studies:
            connection.execute("INSERT OR IGNORE INTO rules_several_patients VALUES (?)", (study,))
            connection.execute("INSERT OR IGNORE INTO temp.touched VALUES ('study', ?)", (study,))
        self.touched = True

    def _move(self, connection: sqlite3.Connection, series: str, before: str, study: str) -> None:
        """Move a series from one study to another.

        Its instances that name the new study are strays no more, all others become strays. The old study may be empty now.
        """
        fields = self.schema.level(Level.IMAGE)
        images = f"SELECT {quoted(fields[0].column)} FROM DICOMImages WHERE {quoted(fields[-1].column)} = ?"
        connection.execute(f"INSERT OR IGNORE INTO rules_strays SELECT *, ? FROM ({images})", (before, series))
        at_home = f"DELETE FROM rules_strays WHERE StudyInstanceUID = ? AND SOPInstanceUID IN ({images})"
        connection.execute(at_home, (study, series))
        self._recheck_patients(connection, {before, study})

    def _write_ours(self, connection: sqlite3.Connection, record: Record, series: str) -> None:
        """Insert the references and the slice position of an instance. Its series has to be measured."""
        uid = record.SOPInstanceUID
        for to in record.references:
            connection.execute("INSERT OR IGNORE INTO rules_references VALUES (?, ?, ?)", (uid, *to))
        for number, row in enumerate(record.pointers):
            connection.execute("INSERT OR REPLACE INTO rules_pointers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (uid, number, *row))
        if record.slice:
            connection.execute("INSERT OR REPLACE INTO rules_slices VALUES (?, ?, ?, ?)", (uid, series, *record.slice))
            self.reshaped.add(series)

    def remove(self, connection: sqlite3.Connection, uid: str, device: str, path: bytes) -> None:
        """Remove an instance and everything that concerns it alone.

        Rows above that its file defined become stale; `prune` removes those without instances.
        """
        self.reset()
        key = quoted(self.schema.key(Level.IMAGE))
        above = connection.execute(self.above, {"uid": uid}).fetchall()
        self.touched = True
        self.reshaped.update(uid for level, uid in above if level == Level.SERIES.value)
        if len(self.reshaped) > MOST_RESHAPED:
            self.measure(connection)
        connection.executemany("INSERT OR IGNORE INTO temp.touched VALUES (?, ?)", above)
        defined = "DELETE FROM rules_first WHERE device = ? AND path = CAST(? AS TEXT) RETURNING level, key"
        stale = connection.execute(defined, (device, path)).fetchall()
        connection.executemany("INSERT OR IGNORE INTO rules_stale VALUES (?, ?)", stale)
        connection.execute(f"DELETE FROM DICOMImages WHERE {key} = ?", (uid,))
        connection.execute("DELETE FROM rules_full WHERE level = 'image' AND key = ?", (uid,))
        for table in ("rules_references", "rules_pointers", "rules_slices", "rules_strays"):
            connection.execute(f"DELETE FROM {table} WHERE SOPInstanceUID = ?", (uid,))

    def distrust_touched(self, connection: sqlite3.Connection) -> None:
        """Mark patient, study and series rows that others touched as stale: to be written again, or removed by `prune`."""
        self.reset()
        self.touched = True
        others = "(SELECT level, key FROM rules_touched WHERE level != 'image')"
        connection.execute(f"DELETE FROM rules_first WHERE (level, key) IN {others}")
        for table in ("temp.touched", "rules_stale"):
            connection.execute(f"INSERT OR IGNORE INTO {table} SELECT level, key FROM rules_touched WHERE level != 'image'")

    def prune(self, connection: sqlite3.Connection) -> None:
        """Remove series, studies and patients without instances, and update the modalities of the studies that remain."""
        if not self.touched:
            return
        self.reset()
        for statement in self.pruning:
            connection.execute(statement)
        studies = connection.execute("SELECT key FROM temp.touched WHERE level = 'study'")
        self.update_modalities(connection, (study for (study,) in studies))
        connection.execute("DELETE FROM temp.touched")
        self.touched = False

    def measure(self, connection: sqlite3.Connection) -> None:
        """Measure the series that gained or lost slices."""
        measure(connection, self.reshaped)
        self.reshaped.clear()

    def postpone(self, connection: sqlite3.Connection) -> None:
        """Note the series that gained or lost slices; `geometry.measure_stale` measures them later."""
        postpone(connection, self.reshaped)
        self.reshaped.clear()

    def update_modalities(self, connection: sqlite3.Connection, studies: Iterable[str]) -> None:
        """Update ModalitiesInStudy of these studies from their series. The server does not read it from files either."""
        if self.modalities:
            connection.executemany(self.modalities, ((study,) for study in studies))


def _modalities(schema: Schema) -> str | None:
    """Return the SQL that sets ModalitiesInStudy of a study as the server does: a modality new to the study goes to the front.

    None if the layout lacks one of the two columns.
    """
    modality = next((quoted(f.column) for f in schema.level(Level.SERIES) if f.tag == MODALITY), None)
    modalities = next((quoted(f.column) for f in schema.level(Level.STUDY) if f.tag == MODALITIES_IN_STUDY), None)
    if modality is None or modalities is None:
        return None
    study, series, link = (
        quoted(schema.key(Level.STUDY)),
        quoted(schema.key(Level.SERIES)),
        quoted(schema.level(Level.SERIES)[-1].column),
    )
    # A series is as old as its first file in the order of all files. When it was indexed does not matter.
    age = (
        f"SELECT d.{modality} AS m, row_number() OVER (ORDER BY s.rank, f.path, d.{series}) AS age FROM DICOMSeries AS d"
        f" LEFT JOIN rules_first AS f ON f.level = 'series' AND f.key = d.{series}"
        " LEFT JOIN rules_sources AS s ON s.device = f.device"
        f" WHERE d.{link} = DICOMStudies.{study} AND d.{modality} IS NOT NULL"
    )
    return (
        f"UPDATE DICOMStudies SET {modalities} = (SELECT group_concat(m, '\\') FROM (SELECT m FROM ({age}) GROUP BY m"
        f" ORDER BY min(age) DESC)) WHERE {study} = ?"
    )


def _patient_of(schema: Schema) -> str:
    """Return a query for the PatientID of a study."""
    link = quoted(schema.level(Level.STUDY)[-1].column)
    return f"SELECT {link} FROM DICOMStudies WHERE {quoted(schema.key(Level.STUDY))} = ?"


def _above(schema: Schema) -> str:
    """Return a query for the rows above the instance :uid: its series, and the studies and patients of the series and its own."""
    image, series, study = (quoted(schema.key(level)) for level in reversed(LEVELS[1:]))
    series_of, study_of, patient_of = (quoted(schema.level(level)[-1].column) for level in reversed(LEVELS[1:]))
    query = (
        f"WITH one AS (SELECT * FROM DICOMImages WHERE {image} = :uid),"
        f" of AS (SELECT * FROM DICOMSeries WHERE {series} = (SELECT {series_of} FROM one))"
        f" SELECT 'series', {series_of} FROM one UNION SELECT 'study', {study_of} FROM of"
        " UNION SELECT 'study', StudyInstanceUID FROM rules_strays WHERE SOPInstanceUID = :uid"
        f" UNION SELECT 'patient', {patient_of} FROM DICOMStudies WHERE {study} = (SELECT {study_of} FROM of)"
    )
    own = schema.patient_id(Level.IMAGE)
    return f"{query} UNION SELECT 'patient', {own} FROM one" if own else query


def _pruning(schema: Schema) -> Iterator[str]:
    """Yield the SQL of `prune`, lowest level first: note the level above, then remove empty rows and what belongs to them."""
    link = {level: quoted(schema.level(level)[-1].column) for level in LEVELS[1:]}
    of_image = schema.patient_id(Level.IMAGE)
    # Which rows still need a row: strays are in a study without their series, and a study may have images of two patients.
    users = {
        Level.SERIES: [("DICOMImages", link[Level.IMAGE])],
        Level.STUDY: [("DICOMSeries", link[Level.SERIES]), ("rules_strays", "StudyInstanceUID")],
        Level.PATIENT: [("DICOMStudies", link[Level.STUDY]), *([("DICOMImages", of_image)] if of_image else [])],
    }
    for level, needed_by in users.items():
        table, key = TABLES[level], quoted(schema.key(level))
        touched = f"(SELECT key FROM temp.touched WHERE level = '{level.value}')"
        if level is not Level.PATIENT:
            above = f"SELECT '{LEVELS[LEVELS.index(level) - 1].value}', {link[level]} FROM {table} WHERE {key} IN {touched}"
            yield f"INSERT OR IGNORE INTO temp.touched {above}"
        user = f"NOT EXISTS (SELECT 1 FROM {{}} WHERE {{}} = {table}.{key})".format
        yield f"DELETE FROM {table} WHERE {key} IN {touched} AND {' AND '.join(user(*place) for place in needed_by)}"
        for kept in ("rules_full", "rules_stale", "rules_first"):
            gone = f"NOT EXISTS (SELECT 1 FROM {table} WHERE {key} = {kept}.key)"
            yield f"DELETE FROM {kept} WHERE level = '{level.value}' AND key IN {touched} AND {gone}"
    yield OF_ONE_PATIENT
