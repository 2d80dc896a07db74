"""What no command may overwrite, whatever somebody types: the files that the rules name, and the program's own."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pyconquest_rules.disk.named_files import open_named
from pyconquest_rules.disk.state_folder import FOLDER
from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.index.store.databases import ENDS, connect, is_wal
from pyconquest_rules.index.store.foreign import objects
from pyconquest_rules.index.store.intact import MAGIC
from pyconquest_rules.rules.rules import Rules

HEADER = 100
"""So many bytes every database begins with."""


def of_another_project(file: Path) -> str | None:
    """What of another project an existing or new file is: its state, or a database, as its index. None if it is neither.

    A database that is a plan, which `plan -o` saved, may be replaced.
    """
    if any(parent.name.casefold() == FOLDER for parent in file.parents):
        return "it is inside the state folder of other rules"
    for end in ("", *ENDS):
        database = file.with_name(file.name.removesuffix(end))
        if (not end or database != file) and _is_database(database):
            return "it is a file of a database, as the index of other rules"
    return None


def _is_database(file: Path) -> bool:
    try:
        with open_named(file, None, sys.maxsize) as opened:
            header = opened.read(HEADER)
            if not header.startswith(MAGIC) or len(header) < HEADER:
                return False
        if is_wal(file):  # as no plan is; who reads it would write beside it
            return True
        with closing(connect(file, read_only=True, timeout=5)) as connection:
            return not {each.name for each in objects(connection)}.issuperset({"request", "step"})
    except (DatabaseError, sqlite3.Error):
        return True
    except OSError:
        return False


def protected_folders(rules: Rules) -> Iterator[tuple[Path, str]]:
    """Folders in which no command writes a file that somebody names, each with what it is."""
    for tree in rules.trees:
        yield tree.root, f'the source "{tree.name}", which is only read'
    yield rules.base / FOLDER, "the folder in which this program keeps its state"


def protected_files(rules: Rules) -> Iterator[tuple[Path, str]]:
    """Files that no command replaces, each with what it is."""
    yield rules.file, "the rules file"
    database = rules.database.resolve()
    yield database, "the index"
    for end in ("-wal", "-shm", "-journal"):
        yield database.with_name(database.name + end), "a file of the index"
    if rules.dicom_sql_file:
        yield rules.dicom_sql_file, "the dicom_sql of the rules"
    for table in rules.tables:
        yield table.file, f"the CSV file of [tables.{table.name}]"
    yield from rules.files
