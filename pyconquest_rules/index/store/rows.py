"""The rows of instances in the four Conquest tables: writing them, and taking them out again."""

import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from time import time

from pyconquest_rules.dicom import Level
from pyconquest_rules.disk.file import File
from pyconquest_rules.index.derived.contradictions import OF_ONE_PATIENT
from pyconquest_rules.index.derived.geometry import measure, postpone
from pyconquest_rules.index.store.records import Full, Record, Row
from pyconquest_rules.index.store.schema import LEVELS, MODALITIES_IN_STUDY, MODALITY, PYCONQUEST_COLUMNS, TABLES, Schema, quoted

At = tuple[int, bytes]
"""The place of a file in the order of all: the number of its source, and its path."""

LAST: At = (sys.maxsize, b"")

# Where a whole archive goes, the names of its series are not all held in memory.
MOST_RESHAPED = 10_000


class Rows:
    """The rows of instances.

    What a patient, study or series row holds, the first of its instances says, in the order of sources and paths: which file
    that is, table `rules_first` knows. If that file changed or went, the row is in `rules_stale` until the one that is first
    now was read (`firsts`).
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
        self.last_at = LAST
        for level in self.levels_above:
            level.last_key = None

    def write(self, connection: sqlite3.Connection, record: Record, device: str, file: File, rank: int) -> None:
        """Inserts the row of an instance, and says above it what this file says first. `rank` is the number of its source."""
        image, study, now = record.rows[-1], record.rows[-2][-1] or "", time()
        series = image[-1] or ""
        self.tell(connection, record, device, (rank, file.path))
        place = (int(now), os.fsencode(file.path), device, *record.extras, now, record.content)
        connection.execute(self.image.insert, image + place)
        self.image.keep_full(connection, image[0] or "", record.full[-1])
        self._write_ours(connection, record, series)
        if study != self._study_of(connection, series):
            connection.execute("INSERT OR REPLACE INTO rules_strays VALUES (?, ?)", (record.SOPInstanceUID, study))

    def tell(self, connection: sqlite3.Connection, record: Record, device: str, at: At) -> None:
        """Writes the rows above an instance of which it is the first."""
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
                self._moved(connection, series, str(before), study)
        if Written.ANEW in written.values():
            self._doubt_patients(connection, {study, before or study})
        if written.keys() & {Level.STUDY, Level.SERIES}:
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
                self._doubt_patients(connection, {study})
                connection.execute("INSERT OR IGNORE INTO temp.touched VALUES ('patient', ?)", row)

    def _doubt_patients(self, connection: sqlite3.Connection, studies: set[str]) -> None:
        """Has `prune` find out whether these studies hold several patients."""
        for study in studies:
            connection.execute("INSERT OR IGNORE INTO rules_several_patients VALUES (?)", (study,))
            connection.execute("INSERT OR IGNORE INTO temp.touched VALUES ('study', ?)", (study,))
        self.touched = True

    def _moved(self, connection: sqlite3.Connection, series: str, before: str, study: str) -> None:
        """A series is in another study now: what was at home is astray, what tells that study is not, and one may be empty."""
        fields = self.schema.level(Level.IMAGE)
        images = f"SELECT {quoted(fields[0].column)} FROM DICOMImages WHERE {quoted(fields[-1].column)} = ?"
        connection.execute(f"INSERT OR IGNORE INTO rules_strays SELECT *, ? FROM ({images})", (before, series))
        at_home = f"DELETE FROM rules_strays WHERE StudyInstanceUID = ? AND SOPInstanceUID IN ({images})"
        connection.execute(at_home, (study, series))
        self._doubt_patients(connection, {before, study})

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

    def remove(self, connection: sqlite3.Connection, uid: str, device: str, path: bytes) -> None:
        """Takes an instance out, with all that is said of it alone. `prune` looks after the levels above.

        What its file said of these is to be said by another one.
        """
        self.begin()
        key = quoted(self.schema.key(Level.IMAGE))
        above = connection.execute(self.above, {"uid": uid}).fetchall()
        self.touched = True
        self.reshaped.update(uid for level, uid in above if level == Level.SERIES.value)
        if len(self.reshaped) > MOST_RESHAPED:
            self.measure(connection)
        connection.executemany("INSERT OR IGNORE INTO temp.touched VALUES (?, ?)", above)
        said = "DELETE FROM rules_first WHERE device = ? AND path = CAST(? AS TEXT) RETURNING level, key"
        stale = connection.execute(said, (device, path)).fetchall()
        connection.executemany("INSERT OR IGNORE INTO rules_stale VALUES (?, ?)", stale)
        connection.execute(f"DELETE FROM DICOMImages WHERE {key} = ?", (uid,))
        connection.execute("DELETE FROM rules_full WHERE level = 'image' AND key = ?", (uid,))
        for table in ("rules_references", "rules_pointers", "rules_slices", "rules_strays"):
            connection.execute(f"DELETE FROM {table} WHERE SOPInstanceUID = ?", (uid,))

    def doubt(self, connection: sqlite3.Connection) -> None:
        """Has every row above the instances that somebody else touched said anew by its first instance, or removed by `prune`."""
        self.begin()
        self.touched = True
        others = "(SELECT level, key FROM rules_touched WHERE level != 'image')"
        connection.execute(f"DELETE FROM rules_first WHERE (level, key) IN {others}")
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


class Written(Enum):
    """What became of the row of a level: it was new, or another file said it before."""

    NEW = 1
    ANEW = 2


class _Level:
    """Writes the row of one level."""

    def __init__(self, schema: Schema, level: Level) -> None:
        self.level, self.fields = level, schema.level(level)
        extra = ["AccessTime"]
        if level is Level.IMAGE:
            extra += ["ObjectFile", "DeviceName", *(name for name, _ in PYCONQUEST_COLUMNS)]
        names = ", ".join([*(quoted(field.column) for field in self.fields), *extra])
        marks = ", ".join(["?"] * len(self.fields) + ["CAST(? AS TEXT)" if name == "ObjectFile" else "?" for name in extra])
        verb, or_anew = ("INSERT OR REPLACE", "") if level is Level.IMAGE else ("INSERT", self._or_anew())
        self.insert = f"{verb} INTO {TABLES[level]} ({names}) VALUES ({marks}){or_anew}"
        self.last_key: str | None = None
        self.last_at = LAST

    def _or_anew(self) -> str:
        columns = [quoted(field.column) for field in self.fields]
        values = ", ".join(f"{column} = excluded.{column}" for column in columns[1:] or columns)
        return f" ON CONFLICT ({columns[0]}) DO UPDATE SET {values}"

    def write(self, connection: sqlite3.Connection, row: Row, full: Full, device: str, at: At) -> Written | None:
        """Writes the row of a level above the instances, unless an earlier file said it."""
        key = row[0] or ""
        if key == self.last_key and at >= self.last_at:
            return None
        self.last_key, self.last_at = key, at
        is_first = connection.execute(
            "INSERT OR IGNORE INTO rules_first VALUES (?, ?, ?, CAST(? AS TEXT))", (self.level.value, key, device, at[1])
        ).rowcount
        if not is_first and not self._take_first(connection, key, device, at):
            return None
        connection.execute(self.insert, (*row, int(time())))
        stale = (
            is_first
            and connection.execute("SELECT 1 FROM rules_stale WHERE level = ? AND key = ?", (self.level.value, key)).fetchone()
        )
        if stale or not is_first:
            connection.execute("DELETE FROM rules_full WHERE level = ? AND key = ?", (self.level.value, key))
        self.keep_full(connection, key, full)
        return Written.ANEW if stale or not is_first else Written.NEW

    def _take_first(self, connection: sqlite3.Connection, key: str, device: str, at: At) -> bool:
        """Notes that a file is the first of this row, if it is."""
        there = connection.execute(
            "SELECT s.rank, CAST(f.path AS BLOB) FROM rules_first AS f JOIN rules_sources AS s USING (device)"
            " WHERE f.level = ? AND f.key = ?",
            (self.level.value, key),
        ).fetchone()
        if there and there <= at:
            return False
        update = "UPDATE rules_first SET device = ?, path = CAST(? AS TEXT) WHERE level = ? AND key = ?"
        connection.execute(update, (device, at[1], self.level.value, key))
        return True

    def keep_full(self, connection: sqlite3.Connection, key: str, full: Full) -> None:
        """Keeps the whole text of what the columns hold cut or changed."""
        for name, text in full:
            connection.execute("INSERT OR REPLACE INTO rules_full VALUES (?, ?, ?, ?)", (self.level.value, key, name, text))


def _modalities(schema: Schema) -> str | None:
    """Sets a study's ModalitiesInStudy from its series as the server does: a modality new to the study goes to the front."""
    modality = next((quoted(f.column) for f in schema.level(Level.SERIES) if f.tag == MODALITY), None)
    modalities = next((quoted(f.column) for f in schema.level(Level.STUDY) if f.tag == MODALITIES_IN_STUDY), None)
    if modality is None or modalities is None:
        return None
    study, series, link = (
        quoted(schema.key(Level.STUDY)),
        quoted(schema.key(Level.SERIES)),
        quoted(schema.level(Level.SERIES)[-1].column),
    )
    # A series is as old as the place of its first file in the order of all files: when it came does not matter.
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
        for kept in ("rules_full", "rules_stale", "rules_first"):
            gone = f"NOT EXISTS (SELECT 1 FROM {table} WHERE {key} = {kept}.key)"
            yield f"DELETE FROM {kept} WHERE level = '{level.value}' AND key IN {touched} AND {gone}"
    yield OF_ONE_PATIENT
