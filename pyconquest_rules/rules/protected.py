"""What no command may overwrite, whatever somebody types: the files that the rules name, and the program's own."""

from collections.abc import Iterator
from pathlib import Path

from pyconquest_rules.rules.rules import Rules

STATE = ".pyconquest-rules"


def protected_folders(rules: Rules) -> Iterator[tuple[Path, str]]:
    """Folders in which no command writes a file that somebody names, each with what it is."""
    for tree in rules.trees:
        yield tree.root, f'the source "{tree.name}", which is only read'
    yield rules.base / STATE, "the folder in which this program keeps its state"


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
    for node in rules.nodes.values():
        if tls := node.tls:
            yield from _named(f"[nodes.{node.name}]", tls.ca, tls.certificate, tls.key, tls.key_password_file)
    for name, listen in rules.listeners.items():
        if listen.tls:
            yield from _named(f"[listen.{name}]", *map(Path, filter(None, listen.tls.model_dump().values())))


def _named(table: str, *files: Path | None) -> Iterator[tuple[Path, str]]:
    return ((file, f"a file of the tls of {table}") for file in files if file is not None)
