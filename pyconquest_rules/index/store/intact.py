"""Checking that a database is an index of this program with intact tables. Conquest servers and SQL of users may change it.

Triggers note the rows of the Conquest tables that others insert, change or delete; the next `index` reads their files again.
A table that another program replaced has lost its triggers. Then the whole index is rebuilt, since it is a cache.
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

OUR_STATEMENTS = (*OUR_TABLES, *references.TABLE, *geometry.TABLES, contradictions.TABLE, *UIDMODS)
OUR_TEXTS = frozenset(statement for statement in OUR_STATEMENTS if statement.startswith("CREATE "))
"""Texts of this program that do not depend on the columns. Some have words that are forbidden in foreign objects."""
OUR_TRIGGER = re.compile(r"rules_(patient|study|series|image)_(inserted|updated|deleted)")
OUR_TABLES_LOWER = frozenset(text.split()[2].lower() for text in OUR_TEXTS if text.startswith("CREATE TABLE")) | {
    name.lower() for name in (*TABLES.values(), "DICOMWorkList")
}

# Tables that stay when the others are rebuilt: the sources, and data of a server that no file has.
KEPT = frozenset({"rules_index", "rules_sources", "rules_tables", "rules_files", "UIDMODS", "DICOMWorkList"})


def check_owner(database: Path) -> None:
    """Raise DatabaseError if a file is not an index of this program, or if no index can be created there. Change nothing."""
    if why := no_place_for(database) or why_not(database):
        raise DatabaseError(f"cannot open the index {database}: {why}")
    with suppress(FileNotFoundError):
        if not os.path.getsize(database):
            return
        try:
            with database.open("rb") as file:
                is_sqlite = file.read(len(MAGIC)) == MAGIC  # SQLite takes very short files for empty databases
        except OSError as error:
            raise DatabaseError(f"cannot open the index {database}: {error.strerror}") from None
        if not is_sqlite:
            raise DatabaseError(f"cannot open the index {database}: it is not a database; name another file as [index] database")
        with closing(open_read_only(database)) as connection:
            found = _objects(connection, database)
        names = {each.name for each in found}
        if names and "rules_index" not in names:
            is_conquest = "dicomimages" in map(str.lower, names)
            what = "the database of a Conquest server or of pyconquest" if is_conquest else "a database"
            raise DatabaseError(f"{database} is {what}, not an index of pyconquest-rules; name another file as [index] database")
        _check_objects(found, database)


def check_objects(connection: sqlite3.Connection, database: Path) -> None:
    """Raise DatabaseError if an index has an object that could run code and is not of this program.

    No statement is run before this check.
    """
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
                f"the index {database} has {each}, which this program did not create and will not run; drop it, or delete"
                " the index (it is a cache) and index again"
            )


def _is_harmless(found: Object) -> bool:
    """Return whether an object can be one of this program, of any version and columns, or runs no code.

    Views and triggers with names of this program are not run before `restore` or `migration.alter` has created them again. No
    statement of this program uses other views.
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
    """Return the names of all tables, views, indexes and triggers."""
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def is_intact(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Return whether all objects of this program are as it creates them, and the Conquest tables have all its columns."""
    return not _damaged(connection, schema) and _has_columns(connection, schema)


def has_own_tables(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Return whether the tables are those that this program created: a table that others have replaced has no trigger.

    The text of triggers is not compared, because it depends on the columns.
    """
    damaged = {(made.kind, made.name) for made in _damaged(connection, schema) if made.kind in ("table", "trigger")}
    there = {(each.kind, each.name) for each in objects(connection) if each.kind == "trigger"}
    return not damaged - there


def _damaged(connection: sqlite3.Connection, schema: Schema) -> list[Object]:
    """Return the objects of this program that are missing or different, and foreign triggers.

    The texts of the server's tables and of pyconquest's views are not compared.
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
    """Create missing objects, within a transaction. If tables were replaced, all tables are rebuilt, empty.

    Sources keep their devices, and forgotten files stay forgotten.
    """
    damaged = _damaged(connection, schema)
    if any(made.kind in ("table", "trigger") for made in damaged) or not _has_columns(connection, schema):
        drop(connection, schema, KEPT - {made.name for made in damaged})
        if "rules_files" in names_in(connection):
            connection.execute("DELETE FROM rules_files WHERE reason IS NOT 'forgotten'")
    else:
        again = {made.name.lower() for made in damaged}  # views and lookups, and any object with such a name
        for each in objects(connection):
            if each.name.lower() in again:
                connection.execute(f"DROP {each.kind} {quoted(each.name)}")
    names = names_in(connection)
    for statement in statements(schema):
        if statement.split()[2] not in names:
            connection.execute(statement)


def drop(connection: sqlite3.Connection, schema: Schema, kept: frozenset[str] = frozenset()) -> None:
    """Remove the tables and views of this program, except those in `kept`, and the tables of CSV files. Others stay."""
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
    """Return why no index can be created at a path and what to do; None if it can."""
    folder = database.parent
    if database.is_dir():
        return "it is a folder; name a file as [index] database"
    if database.exists() and not database.is_file():
        return "it is not a regular file; name another file as [index] database"
    if folder.is_dir():
        return None
    if os.path.lexists(folder):
        return f"{folder} is not a folder; name a file in a folder as [index] database"
    return f"there is no folder {folder}; make it with: mkdir -p {quote(str(folder))}"
