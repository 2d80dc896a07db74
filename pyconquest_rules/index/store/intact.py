"""Whether an index is ours and as we left it. A Conquest server, or anybody with SQL, may write the same database.

Triggers note the rows of the Conquest tables that others insert, change or delete; the next `index` reads their files again.
A table that somebody made anew has lost its triggers: the whole index is then made anew, as it is a cache.
"""

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from shlex import quote

from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.index.derived import contradictions, geometry, references
from pyconquest_rules.index.store.databases import why_not
from pyconquest_rules.index.store.foreign import Object, is_plain_index, is_plain_table, is_view, objects
from pyconquest_rules.index.store.read_only import open_read_only
from pyconquest_rules.index.store.schema import LEVELS, TABLES, Schema, column_names, quoted
from pyconquest_rules.index.store.tables import OUR_TABLES, UIDMODS, statements

MAGIC = b"SQLite format 3\0"

# What stays when the tables are made anew: where sources are, and what a server keeps beside the images.
OUR_STATEMENTS = (*OUR_TABLES, *references.TABLE, *geometry.TABLES, contradictions.TABLE, *UIDMODS)
OUR_TEXTS = frozenset(statement for statement in OUR_STATEMENTS if statement.startswith("CREATE "))
"""What we make whatever the columns are, some of it with words that nobody else's may have."""
OUR_TRIGGER = re.compile(r"rules_(patient|study|series|image)_(inserted|updated|deleted)")
OUR_TABLES_LOWER = frozenset(text.split()[2].lower() for text in OUR_TEXTS if text.startswith("CREATE TABLE")) | {
    name.lower() for name in (*TABLES.values(), "DICOMWorkList")
}

KEPT = frozenset({"rules_index", "rules_sources", "rules_tables", "rules_files", "UIDMODS", "DICOMWorkList"})


def check_owner(database: Path) -> None:
    """Raise DatabaseError for an existing file that is not an index of ours, or for a place where no index can be.

    Nothing is changed.
    """
    if why := no_place_for(database) or why_not(database):
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
            found = _objects(connection, database)
        names = {each.name for each in found}
        if names and "rules_index" not in names:
            whose = "that of a Conquest server or of pyconquest" if "dicomimages" in map(str.lower, names) else "a database"
            raise DatabaseError(
                f"{database} is {whose}, but not an index of pyconquest-rules; name another one as [index] database"
            )
        _check_objects(found, database)


def check_objects(connection: sqlite3.Connection, database: Path) -> None:
    """Raise DatabaseError if an index holds what could run anything, and is not ours. Runs no other statement."""
    _check_objects(_objects(connection, database), database)


def _objects(connection: sqlite3.Connection, database: Path) -> list[Object]:
    try:
        return objects(connection)
    except sqlite3.Error as error:
        raise DatabaseError(
            f"cannot open the index {database}: {error}; it is a cache: if it is damaged, delete it and index again"
        ) from None


def _check_objects(found: Iterable[Object], database: Path) -> None:
    for each in found:
        if not _is_harmless(each):
            raise DatabaseError(
                f"the index {database} has {each}, which this program did not make and does not run; drop it, or delete"
                " the index, which is a cache, and index again"
            )


def _is_harmless(found: Object) -> bool:
    """Whether an object can be ours, of whatever columns and version, or somebody else's that runs nothing.

    Views and triggers with our names are not run before `restore` or `migration.alter` made them anew. No statement of ours names
    views of others.
    """
    if found.text in OUR_TEXTS:
        return True
    is_our_table = found.name.lower() in OUR_TABLES_LOWER or found.name.lower().startswith("rules_")
    match found.kind:
        case "table":
            return is_plain_table(found, ours=is_our_table)
        case "index":
            return is_plain_index(found, OUR_TABLES_LOWER)
        case "view":
            return is_view(found) and found.name.lower() not in OUR_TABLES_LOWER
        case "trigger":
            return bool(OUR_TRIGGER.fullmatch(found.name)) and found.table in TABLES.values()
    return False


def names_in(connection: sqlite3.Connection) -> set[str]:
    """The names of all tables, views, indices and triggers."""
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def is_intact(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Whether all that we made is there, as we make it, and the Conquest tables have at least our columns."""
    return not _amiss(connection, schema) and _has_columns(connection, schema)


def has_own_tables(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Whether the tables are those that we made: a table that somebody else made anew has no trigger.

    What the triggers are is not compared: in an index of other columns they are others.
    """
    amiss = {(made.kind, made.name) for made in _amiss(connection, schema) if made.kind in ("table", "trigger")}
    there = {(each.kind, each.name) for each in objects(connection) if each.kind == "trigger"}
    return not amiss - there


def _amiss(connection: sqlite3.Connection, schema: Schema) -> list[Object]:
    """What of ours is missing or is not what we make, and triggers that are not ours.

    Of the tables that a server makes too it does not matter how they are written; nor of the views of pyconquest.
    """
    there, ours = {each.name.lower(): each for each in objects(connection)}, list(_made(schema))
    names = {made.name for made in ours}
    foreign = [each for each in there.values() if each.kind == "trigger" and each.name not in names]
    return foreign + [made for made in ours if not _is_as_made(there.get(made.name.lower()), made)]


def _made(schema: Schema) -> Iterator[Object]:
    for statement in statements(schema):
        text = statement.strip()
        made, kind, name, *_ = text.split(maxsplit=3)
        if made == "CREATE":
            yield Object(kind.lower(), name, name, text)


def _is_as_made(found: Object | None, made: Object) -> bool:
    if found is None or found.kind != made.kind:
        return False
    exact = made.kind == "trigger" or made.name.startswith("rules_") or made.name == "geometry"
    exact |= made.kind == "view" and not made.name.startswith("v_")
    return found.text == made.text or not exact


def restore(connection: sqlite3.Connection, schema: Schema) -> None:
    """Make what is missing, within a transaction. If tables are not ours any more, all are made anew, empty.

    Sources keep their devices, and what was forgotten stays forgotten.
    """
    amiss = _amiss(connection, schema)
    if any(made.kind in ("table", "trigger") for made in amiss) or not _has_columns(connection, schema):
        drop(connection, schema, KEPT - {made.name for made in amiss})
        if "rules_files" in names_in(connection):
            connection.execute("DELETE FROM rules_files WHERE reason IS NOT 'forgotten'")
    else:
        again = {made.name.lower() for made in amiss}  # views, whatever is called so, and lookups
        for each in objects(connection):
            if each.name.lower() in again:
                connection.execute(f"DROP {each.kind} {quoted(each.name)}")
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


def _has_columns(connection: sqlite3.Connection, schema: Schema) -> bool:
    for level in LEVELS:
        if not set(column_names(connection, TABLES[level])).issuperset(field.column for field in schema.level(level)):
            return False
    return True


def no_place_for(database: Path) -> str | None:
    """Why there can be no index at a path; None if there can be one."""
    folder = database.parent
    if database.is_dir():
        return "it is a folder; name a file as [index] database"
    if database.exists() and not database.is_file():
        return "it is not a regular file; name another one as [index] database"
    if folder.is_dir():
        return None
    if os.path.lexists(folder):
        return f"{folder} is not a folder; name a file in a folder as [index] database"
    return f"there is no folder {folder}; make it with: mkdir -p {quote(str(folder))}"
