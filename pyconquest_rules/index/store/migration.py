"""Changing the columns of an index in place.

For a new column, only instances that can have a value are read again: one for each patient, study or series, and only RT
objects for an element of the radiotherapy groups. Until they are read, `rules_pending` has the column.
"""

import json
import sqlite3
from typing import Any

from pyconquest_rules.dicom import Level, unpadded
from pyconquest_rules.headers import notes
from pyconquest_rules.headers.header import Header
from pyconquest_rules.index.store.records import is_changed, stored_in, text_of_value
from pyconquest_rules.index.store.schema import FORMAT, LEVELS, MODALITY, TABLES, Field, Schema, quoted
from pyconquest_rules.index.store.tables import declared, statements

# Groups of elements that only RT objects have (PS3.6).
RADIOTHERAPY = frozenset({0x3002, 0x3004, 0x3006, 0x3008, 0x300A, 0x300C, 0x300E, 0x3010})

MADE_OF_COLUMNS = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('view', 'index', 'trigger') AND sql IS NOT NULL"
)
MAKES = ("CREATE VIEW", "CREATE INDEX", "CREATE TRIGGER")
OURS = {"referenced", "contradictions", "rules_patient_of"}  # views that only some table layouts have

FIRST = "FROM rules_first JOIN rules_files USING (device, path)"
"""The rows above the instances, each with the file that defines it."""


def described(schema: Schema) -> str:
    """Return a schema as the text that the index keeps of it."""
    levels = {level.value: {field.column: _description(field) for field in schema.level(level)} for level in LEVELS}
    ends = {level.value: [schema.level(level)[0].column, schema.level(level)[-1].column] for level in LEVELS[1:]}
    kept = {"format": FORMAT, "content_hash": schema.content_hash, "worklist": repr(schema.worklist), "ends": ends}
    return json.dumps({"levels": levels, "kept": kept})


def _description(field: Field) -> list[object]:
    return [field.name, str(field.tag), field.length, field.sql_type, field.dicom_type]


def alter(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Change an index in place, within the caller's transaction. Return False, and change nothing, if it has to be rebuilt."""
    row = connection.execute("SELECT value FROM rules_index WHERE key = 'columns'").fetchone()
    after: dict[str, Any] = json.loads(described(schema))
    try:  # another program may have written it
        before: dict[str, Any] = json.loads(row[0]) if row else {"kept": None}
        if before["kept"] != after["kept"]:
            return False
        changes = [(level, before["levels"][level.value], after["levels"][level.value]) for level in LEVELS]
        if any(old[column] != new[column] for _, old, new in changes for column in old.keys() & new.keys()):
            return False
        if not all(isinstance(text, str) for _, old, _ in changes for column in old.values() for text in column[:1]):
            return False
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    made = [statement for statement in statements(schema) if statement.lstrip().startswith(MAKES)]
    there = connection.execute(MADE_OF_COLUMNS).fetchall()
    # SQLite drops a column only if no view, index or trigger uses it. Views of others are created again unchanged.
    for kind, name, table, text in there:
        if kind == "view" or (table in TABLES.values() and text not in made):
            connection.execute(f"DROP {kind} {quoted(name)}")
    for level, old, new in changes:
        _change(connection, schema, level, old, new)
    ours = OURS | {statement.split()[2] for statement in made}
    others = [text for kind, name, _, text in there if kind == "view" and name not in ours]
    kept = {text for kind, _, _, text in there if kind != "view"}
    for statement in (*made, *others):
        if statement not in kept:
            connection.execute(statement)
    return True


def _change(connection: sqlite3.Connection, schema: Schema, level: Level, old: dict[str, Any], new: dict[str, Any]) -> None:
    table = TABLES[level]
    for column in old.keys() - new.keys():
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {quoted(column)}")
        connection.execute("DELETE FROM rules_full WHERE level = ? AND name = ?", (level.value, old[column][0]))
        connection.execute("DELETE FROM rules_pending WHERE level = ? AND name = ?", (level.value, column))
    for field in schema.level(level):
        if field.column not in old:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {declared(field)}")
            connection.execute("INSERT OR IGNORE INTO rules_pending VALUES (?, ?)", (level.value, field.column))


def pending(connection: sqlite3.Connection, schema: Schema) -> list[tuple[Level, Field]]:
    """Return the new columns whose instances have not been read yet."""
    names = {(Level(level), name) for level, name in connection.execute("SELECT level, name FROM rules_pending")}
    return [(level, field) for level in LEVELS for field in schema.level(level) if (level, field.column) in names]


def clear_pending(connection: sqlite3.Connection) -> None:
    """Note that no column has to be filled any more."""
    connection.execute("DELETE FROM rules_pending")


def choose_concerned(connection: sqlite3.Connection, schema: Schema, columns: list[tuple[Level, Field]]) -> None:
    """Put the files of the instances that can have values for these columns into `temp.to_fill`."""
    chosen = " UNION ".join(_instances(schema, level, field) for level, field in columns)
    files = (
        "SELECT f.device, CAST(f.path AS BLOB), f.size, f.mtime_ns FROM DICOMImages AS i"
        " JOIN rules_files AS f ON f.device = i.DeviceName AND f.path = i.ObjectFile"
    )
    connection.execute("DROP TABLE IF EXISTS temp.to_fill")
    connection.execute(
        "CREATE TEMP TABLE to_fill (device TEXT, path BLOB, size INT, mtime_ns INT, PRIMARY KEY (device, path)) WITHOUT ROWID"
    )
    connection.execute(f"INSERT INTO temp.to_fill {files} WHERE i.{quoted(schema.key(Level.IMAGE))} IN ({chosen})")


def _instances(schema: Schema, level: Level, field: Field) -> str:
    """Return a query for the SOPInstanceUIDs of the instances that can have a value for a column."""
    tag = field.tag.path[0][0] if field.tag.path else field.tag.tag
    has_modality = any(each.tag == MODALITY for each in schema.level(Level.SERIES))
    where = " WHERE Modality IS NULL OR Modality LIKE 'RT%'" if tag >> 16 in RADIOTHERAPY and has_modality else ""
    if level is Level.IMAGE:
        return f"SELECT SOPInstanceUID FROM images{where}"
    first = f"SELECT SOPInstanceUID {FIRST} WHERE level = '{level.value}'"
    return f"{first} AND SOPInstanceUID IN (SELECT SOPInstanceUID FROM images{where})" if where else first


def fill(connection: sqlite3.Connection, schema: Schema, columns: list[tuple[Level, Field]], header: Header) -> None:
    """Store the values of one instance, whose header was read for exactly these columns, in its rows."""
    uid = header.SOPInstanceUID
    # Of the rows above, a file defines only those of which it is the first.
    keys = {Level(level): key for level, key in connection.execute(f"SELECT level, key {FIRST} WHERE SOPInstanceUID = ?", (uid,))}
    keys[Level.IMAGE] = uid
    for (level, field), value in zip(columns, header.values, strict=True):
        if level not in keys:
            continue
        key, text = keys[level], text_of_value(value)
        kept = stored_in(field, text)
        update = f"UPDATE {TABLES[level]} SET {quoted(field.column)} = ? WHERE {quoted(schema.key(level))} = ?"
        connection.execute(update, (kept, key))
        if text and is_changed(field, text, kept):
            row = (level.value, key, field.name, unpadded(text))
            connection.execute("INSERT OR REPLACE INTO rules_full VALUES (?, ?, ?, ?)", row)
    if header.notes:
        _note(connection, header)


def _note(connection: sqlite3.Connection, header: Header) -> None:
    """Add the notes of a header to those of the indexed file."""
    where = "WHERE SOPInstanceUID = ? AND outcome = 'indexed'"
    for (before,) in connection.execute(f"SELECT reason FROM rules_files {where}", (header.SOPInstanceUID,)).fetchall():
        reason = notes.reason((*notes.notes(before), *header.notes))
        connection.execute(f"UPDATE rules_files SET reason = ? {where}", (reason, header.SOPInstanceUID))
