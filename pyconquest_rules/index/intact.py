"""Whether an index is ours and as we left it. A Conquest server, or anybody with SQL, may write the same database.

Triggers note the rows of the Conquest tables that others insert, change or delete; the next `index` reads their files again.
A table that somebody made anew has lost its triggers: the whole index is then made anew, as it is a cache.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.index.sql import open_read_only
from pyconquest_rules.index.tables import LEVELS, TABLES, Schema, quoted, statements
from pyconquest_rules.index.wrong_places import no_place_for

MAGIC = b"SQLite format 3\0"

# What stays when the tables are made anew: where sources are, and what a server keeps beside the images.
KEPT = frozenset({"rules_index", "rules_sources", "rules_tables", "rules_files", "UIDMODS", "DICOMWorkList"})


def check_owner(database: Path) -> None:
    """Raise DatabaseError for an existing file that is not an index of ours, or for a place where no index can be.

    Nothing is changed.
    """
    if why := no_place_for(database):
        raise DatabaseError(f"cannot open the index {database}: {why}")
    with suppress(FileNotFoundError):
        if not os.path.getsize(database):
            return
        try:
            with database.open("rb") as file:
                is_sqlite = file.read(len(MAGIC)) == MAGIC  # SQLite takes the shortest of other files for an empty database
        except OSError as error:
            raise DatabaseError(f"cannot open the index {database}: {error.strerror}") from None
        if not is_sqlite:
            raise DatabaseError(f"cannot open the index {database}: it is not a database; name another file as [index] database")
        with closing(open_read_only(database)) as connection:
            names = names_in(connection)
        if names and "rules_index" not in names:
            whose = "that of a Conquest server or of pyconquest" if "dicomimages" in map(str.lower, names) else "a database"
            raise DatabaseError(
                f"{database} is {whose}, but not an index of pyconquest-rules; name another one as [index] database"
            )


def names_in(connection: sqlite3.Connection) -> set[str]:
    """The names of all tables, views, indices and triggers."""
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def is_intact(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Whether all that we made is there, and the Conquest tables have at least our columns."""
    return _has_all(connection, schema, ("TABLE", "TRIGGER", "VIEW", "INDEX")) and _has_columns(connection, schema)


def has_own_tables(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Whether the tables are those that we made: a table that somebody else made anew has no trigger."""
    return _has_all(connection, schema, ("TABLE", "TRIGGER"))


def restore(connection: sqlite3.Connection, schema: Schema) -> None:
    """Make what is missing, within a transaction. If tables are not ours any more, all are made anew, empty.

    Sources keep their devices, and what was forgotten stays forgotten.
    """
    if not (has_own_tables(connection, schema) and _has_columns(connection, schema)):
        drop(connection, schema, KEPT)
        if "rules_files" in names_in(connection):
            connection.execute("DELETE FROM rules_files WHERE reason IS NOT 'forgotten'")
    names = names_in(connection)
    for statement in statements(schema):
        if statement.split()[2] not in names:
            connection.execute(statement)


def drop(connection: sqlite3.Connection, schema: Schema, kept: frozenset[str] = frozenset()) -> None:
    """Remove the tables and views of ours but for those `kept`, and those of CSV files; what somebody else made stays."""
    made = {statement.split()[2] for statement in statements(schema) if statement.split()[1] in ("TABLE", "VIEW")}
    all_there = "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'table') ORDER BY type DESC"
    there = connection.execute(all_there).fetchall()
    if ("table", "rules_tables") in there and "rules_tables" not in kept:
        made |= {name for (name,) in connection.execute("SELECT name FROM rules_tables")}
    for kind, name in there:
        if name not in kept and (name in made or name.startswith("rules_")):
            connection.execute(f"DROP {kind} {quoted(name)}")


def _has_all(connection: sqlite3.Connection, schema: Schema, kinds: tuple[str, ...]) -> bool:
    names = names_in(connection)
    made = (statement.split()[1:3] for statement in statements(schema))
    return all(name in names for kind, name in made if kind in kinds)


def _has_columns(connection: sqlite3.Connection, schema: Schema) -> bool:
    for level in LEVELS:
        columns = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (TABLES[level],))}
        if not columns.issuperset(field.column for field in schema.level(level)):
            return False
    return True


def touched_files(schema: Schema) -> Iterator[str]:
    """Queries for the files (device, path, size, mtime_ns) that say anew what others touched.

    Of a touched image that is its own file; of a row above, the first file of each of its series, and all strays of a study.
    """
    file = "SELECT f.device, CAST(f.path AS BLOB), f.size, f.mtime_ns FROM rules_files AS f WHERE f.outcome = 'indexed'"
    touched = "SELECT key FROM rules_touched WHERE level = '{}'".format
    yield f"{file} AND f.SOPInstanceUID IN ({touched(Level.IMAGE.value)})"
    strays = f"SELECT SOPInstanceUID FROM rules_strays WHERE StudyInstanceUID IN ({touched(Level.STUDY.value)})"
    yield f"{file} AND f.SOPInstanceUID IN ({strays})"
    image, link = quoted(schema.key(Level.IMAGE)), quoted(schema.level(Level.IMAGE)[-1].column)
    order = f"({image} IN (SELECT SOPInstanceUID FROM rules_strays)) || DeviceName || '/' || ObjectFile"  # strays last
    for level in LEVELS[:-1]:
        series = f"SELECT SeriesInstanceUID FROM images WHERE {level.key} IN ({touched(level.value)})"
        first = f"SELECT {image}, min({order}) FROM DICOMImages WHERE {link} IN ({series}) GROUP BY {link}"
        yield f"{file} AND f.SOPInstanceUID IN (SELECT {image} FROM ({first}))"


def strange_images(schema: Schema) -> str:
    """A query for the keys of touched image rows that no file of the index has."""
    key = quoted(schema.key(Level.IMAGE))
    return (
        f"SELECT {key} FROM DICOMImages WHERE {key} IN (SELECT key FROM rules_touched WHERE level = '{Level.IMAGE.value}')"
        f" AND NOT EXISTS (SELECT 1 FROM rules_files AS f WHERE f.SOPInstanceUID = {key} AND f.outcome = 'indexed')"
    )
