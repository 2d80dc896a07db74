"""The rows of instances in the four Conquest tables: writing them, and taking them out again."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from time import time

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.contradictions import OF_ONE_PATIENT
from pyconquest_rules.index.geometry import measure, postpone
from pyconquest_rules.index.records import Full, Record, Row
from pyconquest_rules.index.tables import LEVELS, MODALITIES_IN_STUDY, MODALITY, PYCONQUEST_COLUMNS, TABLES, Schema, quoted
from pyconquest_rules.index.walk import File

# Where a whole archive goes, the names of its series are not all held in memory.
MOST_RESHAPED = 10_000


class Rows:
    """The rows of instances.

    What a patient, study or series row holds, its first instance says. When one of its instances changed or went, that
    may be out of date: the next instance that is read says it anew.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        *self.levels_above, self.image = (_Level(schema, level) for level in LEVELS)
        self.modalities = _modalities(schema)
        self.above, self.pruning, self.patient_of = _above(schema), list(_pruning(schema)), _patient_of(schema)
        self.reshaped, self.touched = set[str](), False
        """Series whose slices are to be measured anew; whether a row above the instances may be one too many now."""
        self.begin()

    def begin(self) -> None:
        """Forgets which rows are there, as others may have changed that, or a transaction was rolled back."""
        self.home: tuple[str | None, str | None] = (None, None)
        self.last: tuple[Row, ...] = ()
        for level in self.levels_above:
            level.last_key = None

    def write(self, connection: sqlite3.Connection, record: Record, device: str, file: File) -> None:
        """Inserts what is not there yet; an image row is replaced."""
        above, image = record.rows[:-1], record.rows[-1]
        series, study, now = image[-1] or "", above[-1][-1] or "", time()
        before, new = self._study_of(connection, series), set()
        if above != self.last:
            self._compare_patient(connection, str(above[0][0]), {study, before or study})
            levels = zip(self.levels_above, above, record.full, strict=False)
            new = {level.level for level, row, full in levels if level.write(connection, row, full, (int(now),))}
            self.last = above
        place = (int(now), os.fsencode(file.path), device, *record.extras, now, record.content)
        self.image.write(connection, image, record.full[-1], place)
        self._write_ours(connection, record, series)
        if Level.SERIES in new:
            self.home = (series, study)
            if before not in (None, study):
                self._moved(connection, series, str(before), study)
        elif study != before:
            connection.execute("INSERT OR REPLACE INTO rules_strays VALUES (?, ?)", (record.SOPInstanceUID, study))
        if new & {Level.STUDY, Level.SERIES}:
            self.say_modalities(connection, [study])

    def _study_of(self, connection: sqlite3.Connection, series: str) -> str | None:
        """The study that a series is in as the index has it; None for a series that it has not."""
        if self.home[0] != series:
            fields = self.schema.level(Level.SERIES)
            query = f"SELECT {quoted(fields[-1].column)} FROM DICOMSeries WHERE {quoted(fields[0].column)} = ?"
            self.home = (series, *(connection.execute(query, (series,)).fetchone() or (None,)))
        return self.home[1]

    def _compare_patient(self, connection: sqlite3.Connection, patient: str, studies: set[str]) -> None:
        """Notes the studies of an instance that the index knows as another patient's, before any of this is written."""
        for study in studies:
            row = connection.execute(self.patient_of, (study,)).fetchone()
            if row and row[0] != patient:
                connection.execute("INSERT OR IGNORE INTO rules_several_patients VALUES (?)", (study,))

    def _moved(self, connection: sqlite3.Connection, series: str, before: str, study: str) -> None:
        """A series is in another study now: strays in that one are at home, and the one before may be empty."""
        fields = self.schema.level(Level.IMAGE)
        images = f"SELECT {quoted(fields[0].column)} FROM DICOMImages WHERE {quoted(fields[-1].column)} = ?"
        at_home = f"DELETE FROM rules_strays WHERE StudyInstanceUID = ? AND SOPInstanceUID IN ({images})"
        connection.execute(at_home, (study, series))
        connection.execute("INSERT OR IGNORE INTO temp.touched VALUES ('study', ?)", (before,))
        connection.execute("INSERT OR IGNORE INTO rules_several_patients VALUES (?)", (study,))
        self.touched = True

    def _write_ours(self, connection: sqlite3.Connection, record: Record, series: str) -> None:
        """What the instance points at, and where its slice lies; the series is noted to be measured."""
        uid = record.SOPInstanceUID
        for to in record.references:
            connection.execute("INSERT OR IGNORE INTO rules_references VALUES (?, ?, ?)", (uid, *to))
        for number, row in enumerate(record.pointers):
            connection.execute("INSERT OR REPLACE INTO rules_pointers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (uid, number, *row))
        if record.slice:
            connection.execute("INSERT OR REPLACE INTO rules_slices VALUES (?, ?, ?, ?)", (uid, series, *record.slice))
            self.reshaped.add(series)

    def remove(self, connection: sqlite3.Connection, uid: str) -> None:
        """Takes an instance out, with all that is said of it alone. `prune` looks after the levels above."""
        self.begin()
        key = quoted(self.schema.key(Level.IMAGE))
        above = connection.execute(self.above, {"uid": uid}).fetchall()
        self.touched = True
        self.reshaped.update(uid for level, uid in above if level == Level.SERIES.value)
        if len(self.reshaped) > MOST_RESHAPED:
            self.measure(connection)
        for table in ("temp.touched", "rules_stale"):
            connection.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", above)
        connection.execute(f"DELETE FROM DICOMImages WHERE {key} = ?", (uid,))
        connection.execute("DELETE FROM rules_full WHERE level = 'image' AND key = ?", (uid,))
        for table in ("rules_references", "rules_pointers", "rules_slices", "rules_strays"):
            connection.execute(f"DELETE FROM {table} WHERE SOPInstanceUID = ?", (uid,))

    def doubt(self, connection: sqlite3.Connection) -> None:
        """Has every row above the instances that somebody else touched said anew by the next instance, or removed by `prune`."""
        self.begin()
        self.touched = True
        for table in ("temp.touched", "rules_stale"):
            connection.execute(f"INSERT OR IGNORE INTO {table} SELECT level, key FROM rules_touched WHERE level != 'image'")

    def prune(self, connection: sqlite3.Connection) -> None:
        """Removes series, studies and patients that lost their last instance, and says anew the modalities of studies left."""
        if not self.touched:
            return
        self.begin()
        for statement in self.pruning:
            connection.execute(statement)
        studies = connection.execute("SELECT key FROM temp.touched WHERE level = 'study'")
        self.say_modalities(connection, (study for (study,) in studies))
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

    def say_modalities(self, connection: sqlite3.Connection, studies: Iterable[str]) -> None:
        """Says anew which modalities the series of these studies have; the server does not read that from files either."""
        if self.modalities:
            connection.executemany(self.modalities, ((study,) for study in studies))


class _Level:
    """Writes the row of one level."""

    def __init__(self, schema: Schema, level: Level) -> None:
        self.level, self.fields = level, schema.level(level)
        extra = ["AccessTime"]
        if level is Level.IMAGE:
            extra += ["ObjectFile", "DeviceName", *(name for name, _ in PYCONQUEST_COLUMNS)]
        names = ", ".join([*(quoted(field.column) for field in self.fields), *extra])
        marks = ", ".join(["?"] * len(self.fields) + ["CAST(? AS TEXT)" if name == "ObjectFile" else "?" for name in extra])
        verb, if_stale = ("INSERT OR REPLACE", "") if level is Level.IMAGE else ("INSERT", self._if_stale())
        self.insert = f"{verb} INTO {TABLES[level]} ({names}) VALUES ({marks}){if_stale}"
        self.last_key: str | None = None

    def _if_stale(self) -> str:
        """A row that is there already is overwritten only if one of its instances changed or went."""
        columns = [quoted(field.column) for field in self.fields]
        stale = f"SELECT 1 FROM rules_stale WHERE level = '{self.level.value}' AND key = excluded.{columns[0]}"
        values = ", ".join(f"{column} = excluded.{column}" for column in columns[1:] or columns)
        return f" ON CONFLICT ({columns[0]}) DO UPDATE SET {values} WHERE EXISTS ({stale})"

    def write(self, connection: sqlite3.Connection, row: Row, full: Full, place: tuple[object, ...]) -> bool:
        """Whether a row was written. `place` is the time, and what an image row has beside its elements."""
        key = row[0] or ""
        if key == self.last_key and self.level is not Level.IMAGE:
            return False
        new = connection.execute(self.insert, row + place).rowcount == 1
        self.last_key = key
        if new:
            self._keep_full(connection, key, full)
        return new

    def _keep_full(self, connection: sqlite3.Connection, key: str, full: Full) -> None:
        """Keeps the whole text of what the columns hold cut or changed."""
        if self.level is not Level.IMAGE:
            for table in ("rules_full", "rules_stale"):
                connection.execute(f"DELETE FROM {table} WHERE level = ? AND key = ?", (self.level.value, key))
        for name, text in full:
            connection.execute("INSERT OR REPLACE INTO rules_full VALUES (?, ?, ?, ?)", (self.level.value, key, name, text))


def _modalities(schema: Schema) -> str | None:
    """Sets a study's ModalitiesInStudy from its series as the server does: a modality new to the study goes to the front."""
    modality = next((quoted(f.column) for f in schema.level(Level.SERIES) if f.tag == MODALITY), None)
    modalities = next((quoted(f.column) for f in schema.level(Level.STUDY) if f.tag == MODALITIES_IN_STUDY), None)
    if modality is None or modalities is None:
        return None
    study, link = quoted(schema.key(Level.STUDY)), quoted(schema.level(Level.SERIES)[-1].column)
    taken = {field.column.lower() for field in schema.level(Level.SERIES)}
    age = next(name for name in ("rowid", "oid", "_rowid_", study) if name not in taken)
    return (
        f"UPDATE DICOMStudies SET {modalities} = (SELECT group_concat(m, '\\') FROM (SELECT {modality} AS m FROM DICOMSeries"
        f" WHERE {link} = DICOMStudies.{study} AND {modality} IS NOT NULL GROUP BY m ORDER BY min({age}) DESC)) WHERE {study} = ?"
    )


def _patient_of(schema: Schema) -> str:
    """A query for the PatientID of a study."""
    link = quoted(schema.level(Level.STUDY)[-1].column)
    return f"SELECT {link} FROM DICOMStudies WHERE {quoted(schema.key(Level.STUDY))} = ?"


def _above(schema: Schema) -> str:
    """A query for the rows above the instance :uid: its series, the studies and patients that this is in and that it tells."""
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
    """Lowest level first: touches the level above, removes what nothing is in any more, with what is said of it."""
    link = {level: quoted(schema.level(level)[-1].column) for level in LEVELS[1:]}
    of_image = schema.patient_id(Level.IMAGE)
    # By whom a row is still needed: strays are in a study without their series, a study may hold images of two patients.
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
        for kept in ("rules_full", "rules_stale"):
            gone = f"NOT EXISTS (SELECT 1 FROM {table} WHERE {key} = {kept}.key)"
            yield f"DELETE FROM {kept} WHERE level = '{level.value}' AND key IN {touched} AND {gone}"
    yield OF_ONE_PATIENT
