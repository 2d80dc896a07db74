"""Applying decisions to an index: remove what is forgotten, and let what is not forgotten any more be read again."""

import json
import sqlite3
from collections.abc import Callable

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.store.decisions import DEVICE, Decision, Decisions, DecisionsFile
from pyconquest_rules.index.store.schema import LEVELS
from pyconquest_rules.index.store.tables import OTHER_BYTES

RECORDED = "decisions"
"""The key of `rules_index` for the decisions that were applied."""

CHOSEN = "CREATE TEMP TABLE IF NOT EXISTS chosen (SOPInstanceUID TEXT PRIMARY KEY) WITHOUT ROWID"
VALUES = "(SELECT value FROM json_each(?))"


def recorded(connection: sqlite3.Connection) -> Decisions | None:
    """Return the decisions that were applied to an index; None if it has no record of them, as in an earlier version."""
    row = connection.execute("SELECT value FROM rules_index WHERE key = ?", (RECORDED,)).fetchone()
    decisions = None if row is None else Decisions.of_text(str(row[0]))
    try:
        _ = decisions and decisions.all
    except ValueError:  # another program wrote them
        return None
    return decisions


def keep(connection: sqlite3.Connection, file: DecisionsFile) -> None:
    """Write decisions that only the index has to the file: those of an earlier version, all if the file is gone, and devices."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'rules_files'").fetchone():
        return
    before, there, missing = recorded(connection), file.read(), set[Decision]()
    if before is None:
        forgotten = "SELECT SOPInstanceUID FROM rules_files WHERE reason = 'forgotten' AND SOPInstanceUID IS NOT NULL"
        missing = {("forget", Level.IMAGE.value, str(uid)) for (uid,) in connection.execute(forgotten)}
    elif not file.exists():
        missing = {*before.all}
    rows = connection.execute("SELECT name, device FROM rules_sources").fetchall()
    missing |= {("device", name, device) for name, device in rows if name not in there.devices and DEVICE.fullmatch(str(device))}
    if missing - there.all:
        file.change(missing)


def choose(connection: sqlite3.Connection, decisions: frozenset[Decision]) -> None:
    """Put the instances that decisions forget into `temp.chosen`. Each instance counts by the keys in its own header."""
    connection.execute(CHOSEN)
    for level in LEVELS:
        values = json.dumps([words[2] for words in decisions if words[1] == level.value])
        if values == "[]":
            continue
        strays = "SELECT SOPInstanceUID FROM rules_strays"
        home = f" AND SOPInstanceUID NOT IN ({strays})" if level is Level.STUDY else ""
        insert = "INSERT OR IGNORE INTO temp.chosen"
        connection.execute(f"{insert} SELECT SOPInstanceUID FROM images WHERE {level.key} IN {VALUES}{home}", (values,))
        if home:
            connection.execute(f"{insert} {strays} WHERE StudyInstanceUID IN {VALUES}", (values,))
        if level is Level.IMAGE:  # also instances of which no file is indexed
            connection.execute(f"{insert} SELECT SOPInstanceUID FROM rules_files WHERE SOPInstanceUID IN {VALUES}", (values,))


# A file whose bytes differ from the indexed file may belong to another patient, study or series. It is read again.
UNREAD = f"DELETE FROM rules_files WHERE {OTHER_BYTES} AND SOPInstanceUID NOT IN temp.chosen"
COVERED = """
SELECT device, CAST(path AS BLOB), size, mtime_ns, SOPInstanceUID, outcome, reason FROM rules_files
WHERE SOPInstanceUID IN temp.chosen AND outcome != 'skipped'
"""
LEFT_OUT = "INSERT OR REPLACE INTO rules_files VALUES (?, CAST(? AS TEXT), ?, ?, 'skipped', 'forgotten', ?, NULL, NULL, NULL)"


def obey(connection: sqlite3.Connection, decisions: Decisions, forget: Callable[[str, bytes], object]) -> None:
    """Apply the decisions that are new, and undo those that are gone. Call it within a transaction.

    `forget` removes a file and its instance from the index.
    """
    before = recorded(connection) or Decisions()
    new, gone = decisions.forgotten - before.forgotten, before.forgotten - decisions.forgotten
    if gone:  # of forgotten instances the index has only the UID, so all of them are read again
        connection.execute("DELETE FROM rules_files WHERE reason = 'forgotten'")
        new = decisions.forgotten
    if new:
        connection.execute(CHOSEN)
        connection.execute("DELETE FROM temp.chosen")
        choose(connection, new)
        images = {words[2] for words in new if words[1] == Level.IMAGE.value}
        covered = connection.execute(COVERED).fetchall()
        for device, path, *_ in covered:
            forget(device, path)
        left_out = (row[:5] for row in covered if row[5] == "indexed" or row[6] == "same-bytes" or row[4] in images)
        connection.executemany(LEFT_OUT, left_out)
        connection.execute(UNREAD)
    _name_devices(connection, decisions)
    record(connection, decisions)


def record(connection: sqlite3.Connection, decisions: Decisions) -> None:
    """Record the decisions that were applied to an index."""
    connection.execute("INSERT OR REPLACE INTO rules_index VALUES (?, ?)", (RECORDED, decisions.text))


def _name_devices(connection: sqlite3.Connection, decisions: Decisions) -> None:
    """Give every source the device of its decision."""
    rows = connection.execute("SELECT name, device FROM rules_sources").fetchall()
    new = [(decided, device) for name, device in rows if (decided := decisions.devices.get(name, device)) != device]
    if not new:
        return
    places = (("rules_sources", "device"), ("rules_files", "device"), ("rules_first", "device"), ("DICOMImages", "DeviceName"))
    for table, column in places:  # through a temporary name, because two sources may swap devices
        update = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"
        connection.executemany(update, ((f"~{device}", before) for device, before in new))
        connection.executemany(update, ((device, f"~{device}") for device, _ in new))
