"""Writing an instance into the four Conquest tables."""

import sqlite3
from collections.abc import Mapping, Sequence
from time import time

from pyconquest_rules.dicom import KEYS, Level, TagPath, tags
from pyconquest_rules.index.header import Header
from pyconquest_rules.index.tables import LEVELS, MODALITIES_IN_STUDY, MODALITY, TABLES, Field, Schema, quoted
from pyconquest_rules.index.values import stored
from pyconquest_rules.index.walk import File

Record = Mapping[TagPath, str | None]

# What names a patient, a study, a series or an instance is never cut and never NULL: cutting would make two of them one.
IDENTIFIERS = frozenset(TagPath((), tags()[key]) for key in KEYS.values())


class Rows:
    """The rows of an instance. What a patient, study or series row holds, its first instance says."""

    def __init__(self, schema: Schema) -> None:
        self.tags = schema.tags()
        self.levels = [_Level(schema, level) for level in LEVELS]
        self.modalities = _modalities(schema)
        self.study = schema.level(Level.SERIES)[-1].tag

    def write(self, connection: sqlite3.Connection, header: Header, device: str, file: File) -> None:
        """Inserts what is not there yet; an image row is replaced."""
        record = dict(zip(self.tags, header.values, strict=True))
        new = {level.level for level in self.levels if level.write(connection, record, device, file)}
        if new & {Level.STUDY, Level.SERIES}:
            self.say_modalities(connection, [record[self.study] or ""])

    def say_modalities(self, connection: sqlite3.Connection, studies: Sequence[str]) -> None:
        """Says anew which modalities the series of these studies have; the server does not read that from files either."""
        if self.modalities:
            connection.executemany(self.modalities, [(study,) for study in studies])


class _Level:
    """Writes the row of one level."""

    def __init__(self, schema: Schema, level: Level) -> None:
        self.level, self.fields = level, schema.level(level)
        extra = ["AccessTime", "ObjectFile", "DeviceName"] if level is Level.IMAGE else ["AccessTime"]
        names = ", ".join([*(quoted(field.column) for field in self.fields), *extra])
        marks = ", ".join(["?"] * (len(self.fields) + 1) + ["CAST(? AS TEXT)", "?"] * (level is Level.IMAGE))
        verb = "REPLACE" if level is Level.IMAGE else "IGNORE"
        self.insert = f"INSERT OR {verb} INTO {TABLES[level]} ({names}) VALUES ({marks})"
        self.last_key: str | None = None

    def write(self, connection: sqlite3.Connection, record: Record, device: str, file: File) -> bool:
        """Whether a row was made."""
        key = record[self.fields[0].tag] or ""
        if key == self.last_key and self.level is not Level.IMAGE:
            return False
        values = [_stored(field, record[field.tag]) for field in self.fields]
        place = [file.path, device] if self.level is Level.IMAGE else []
        new = connection.execute(self.insert, [*values, int(time()), *place]).rowcount == 1
        self.last_key = key
        if new:
            self._keep_full(connection, key, record)
        return new

    def _keep_full(self, connection: sqlite3.Connection, key: str, record: Record) -> None:
        for field in self.fields:
            text = record[field.tag]
            if text and len(text) * 4 > field.length < len(text.encode()) and field.tag not in IDENTIFIERS:
                row = (self.level.value, key, field.name, text.strip(" "))
                connection.execute("INSERT OR REPLACE INTO rules_full VALUES (?, ?, ?, ?)", row)


def _stored(field: Field, text: str | None) -> str | None:
    if field.tag in IDENTIFIERS:
        return text or ""
    return stored(text, field.dicom_type, field.sql_type, field.length)


def _modalities(schema: Schema) -> str | None:
    """Sets a study's ModalitiesInStudy from its series as the server does: a modality new to the study goes to the front."""
    modality = next((quoted(f.column) for f in schema.level(Level.SERIES) if f.tag == MODALITY), None)
    modalities = next((quoted(f.column) for f in schema.level(Level.STUDY) if f.tag == MODALITIES_IN_STUDY), None)
    if modality is None or modalities is None:
        return None
    study, link = quoted(schema.key(Level.STUDY)), quoted(schema.level(Level.SERIES)[-1].column)
    return (
        f"UPDATE DICOMStudies SET {modalities} = (SELECT group_concat(m, '\\') FROM (SELECT {modality} AS m FROM DICOMSeries"
        f" WHERE {link} = DICOMStudies.{study} AND {modality} IS NOT NULL GROUP BY m ORDER BY min(rowid) DESC)) WHERE {study} = ?"
    )
