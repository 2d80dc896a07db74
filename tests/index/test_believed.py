"""An index that came with foreign rules is not trusted: no code in its schema is ever run.

Harmless objects, such as a table or view of a script, stay. Objects with our names are created again. All others are errors.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pyconquest_rules.errors import DatabaseError
from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
from pyconquest_rules.index.store.foreign import objects
from pyconquest_rules.index.store.intact import check_objects, is_intact
from pyconquest_rules.index.store.schema import schema
from pyconquest_rules.index.store.store import Store
from tests.conftest import Instance, Workplace
from tests.index.indexing import dump, index

RULES = """
[sources.archive]
path = "data"
[select.all]
level = "image"
where = "1"
[copy.export]
select = "all"
to = "export/{{ PatientID }}/{{ SOPInstanceUID }}.dcm"
"""
WRITABLE = "PRAGMA writable_schema = ON"
SOME = (["index"], ["apply", "--no-index"])
EVERY = (*SOME, ["plan"], ["apply"], ["query", "SELECT 1"], ["summary"], ["forget", "P1", "--yes"])


@pytest.fixture
def archive(workplace: Workplace, instance: Instance) -> Workplace:
    """Two indexed instances and a copy of them."""
    instance("data/1.dcm")
    instance("data/2.dcm")
    workplace.rules(RULES)
    index(workplace)
    return workplace


def sent(workplace: Workplace, *statements: str) -> None:
    """Run statements on the index, as the sender of the rules may have done."""
    with closing(sqlite3.connect(workplace.folder / "conquest.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def rewritten(name: str, old: str, new: str) -> tuple[str, str]:
    """Return statements that write another text of an object into the schema, as no SQL command does."""
    return WRITABLE, f"UPDATE sqlite_master SET sql = replace(sql, '{old}', '{new}') WHERE name = '{name}'"


FOREIGN = {
    "a trigger on a table of the server": [
        "CREATE TRIGGER evil AFTER INSERT ON DICOMImages BEGIN DELETE FROM rules_files; END",
    ],
    "a trigger on a table of ours": ["CREATE TRIGGER evil AFTER INSERT ON rules_index BEGIN DELETE FROM rules_files; END"],
    "a trigger with a name of ours on another table": [
        "CREATE TRIGGER rules_image_seen BEFORE UPDATE ON rules_sources BEGIN DELETE FROM rules_files; END",
    ],
    "a trigger on a view": ["CREATE TRIGGER evil INSTEAD OF INSERT ON images BEGIN DELETE FROM rules_files; END"],
    "a view in the place of a table": [
        "DROP TABLE rules_sources",
        "CREATE VIEW rules_sources AS SELECT 'MAG0' AS device, 'archive' AS name, '/etc' AS path, 0 AS rank",
    ],
    "a view in the place of a table, in capitals": ["DROP TABLE rules_stale", "CREATE VIEW RULES_STALE AS SELECT 1 AS level"],
    "a virtual table": ["CREATE VIRTUAL TABLE evil USING fts5(a)"],
    "a virtual table in the place of one of ours": [
        "DROP TABLE rules_tables",
        "CREATE VIRTUAL TABLE rules_tables USING rtree(id, a, b)",
    ],
    "an index of an expression": ["CREATE INDEX evil ON DICOMImages (hex(zeroblob(length(ObjectFile))))"],
    "an index with a condition": ["CREATE INDEX evil ON rules_files (path) WHERE length(path) > 1"],
    "an index that keeps rows out": ["CREATE UNIQUE INDEX evil ON DICOMImages (SOPInstanc, SOPClassUI)"],
    "a generated column": ["ALTER TABLE DICOMPatients ADD COLUMN evil AS (hex(PatientID))"],
    "a generated column of ours": ["ALTER TABLE rules_files ADD COLUMN evil GENERATED ALWAYS AS (hex(path))"],
    "a CHECK with a function": rewritten("rules_files", "outcome TEXT", "outcome TEXT CHECK (length(hex(path)) > 0)"),
    "a default that is computed": rewritten("DICOMSeries", "qSpare varchar(64)", "qSpare varchar(64) DEFAULT (hex(1))"),
    "keys without case": rewritten("rules_sources", "name TEXT", "name TEXT COLLATE NOCASE"),
    "rows that replace others": rewritten("rules_pending", "level TEXT", "level TEXT UNIQUE ON CONFLICT REPLACE"),
    "a trigger that says that it is a view": [
        "CREATE TRIGGER evil AFTER INSERT ON DICOMImages BEGIN DELETE FROM rules_files; END",
        WRITABLE,
        "UPDATE sqlite_master SET type = 'view' WHERE name = 'evil'",
    ],
    "a trigger with the name of one of ours in another column": [
        "CREATE TRIGGER evil AFTER INSERT ON rules_files BEGIN DELETE FROM rules_files; END",
        WRITABLE,
        "UPDATE sqlite_master SET name = 'rules_image_inserted', tbl_name = 'DICOMImages' WHERE name = 'evil'",
    ],
    "a CHECK in a name": [
        "CREATE TABLE notes (a)",
        WRITABLE,
        "UPDATE sqlite_master SET name = 'notes(a CHECK (hex(a) > 1), b varchar',"
        " sql = 'CREATE TABLE notes(a CHECK (hex(a) > 1), b varchar(1))' WHERE name = 'notes'",
    ],
}


@pytest.mark.parametrize("statements", FOREIGN.values(), ids=list(FOREIGN))
def test_an_object_that_could_run_code_is_rejected_before_any_statement(archive: Workplace, statements: list[str]) -> None:
    sent(archive, *statements)
    before = {file.name: file.read_bytes() for file in archive.folder.glob("conquest.db")}
    for command in EVERY if "evil" in statements[0] and "rules_index" in statements[0] else SOME:
        done = archive.run(*command)
        assert done.code == 1, (command, done.err)
        assert "conquest.db" in done.err
    assert {file.name: file.read_bytes() for file in archive.folder.glob("conquest.db")} == before
    assert not (archive.folder / "export").exists()


def test_the_error_names_the_foreign_object_and_what_to_do(archive: Workplace) -> None:
    sent(archive, *FOREIGN["a trigger on a table of ours"])
    assert archive.run("plan").err.strip() == (
        f'error: the index {archive.folder}/conquest.db has the trigger "evil", which this program did not create and will'
        " not run; drop it, or delete the index (it is a cache) and index again"
    )
    for file in archive.folder.glob("conquest.db*"):
        file.unlink()
    assert archive.run("apply").code == 0


OURS_CHANGED = {
    "a trigger": ["DROP TRIGGER rules_image_inserted", FOREIGN["a trigger on a table of the server"][0].replace("evil", "{}")],
    "a view": ["DROP VIEW images", "CREATE VIEW images AS SELECT 'x' AS SOPInstanceUID, 'P9' AS PatientID"],
    "a view that never ends": [
        "DROP VIEW series",
        "CREATE VIEW series AS WITH RECURSIVE r(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM r) SELECT * FROM r",
    ],
    "a lookup": ["DROP INDEX rules_files_instance", "CREATE INDEX rules_files_instance ON rules_files (size)"],
    "a table in the place of a view": ["DROP VIEW files", "CREATE TABLE files (Path, Source)"],
    "a table without its key": ["DROP TABLE rules_full", "CREATE TABLE rules_full (level TEXT, key TEXT, name TEXT, value TEXT)"],
}


@pytest.mark.parametrize("statements", OURS_CHANGED.values(), ids=list(OURS_CHANGED))
def test_an_object_with_our_name_and_another_text_is_created_again(archive: Workplace, statements: list[str]) -> None:
    fresh = dump(archive.folder / "conquest.db")
    sent(archive, *(statement.format("rules_image_inserted") for statement in statements))
    assert "restore them with: pyconquest-rules index" in archive.run("query", "SELECT 1").err
    index(archive)
    assert dump(archive.folder / "conquest.db") == fresh
    assert archive.run("query", "SELECT count(*) FROM images").code == 0


@pytest.mark.parametrize("column", ["FrameOfReferenceUID", "KVP"])
def test_a_change_of_columns_does_not_run_existing_objects(archive: Workplace, column: str) -> None:
    statements = OURS_CHANGED["a trigger"]
    sent(archive, *(statement.format("rules_image_inserted") for statement in statements))
    layout = "".join(line for line in standard_text().splitlines(True) if f'"{column}"' not in line)
    (archive.folder / "dicom.sql").write_text(layout)
    index(archive.rules(f'[index]\ndicom_sql = "dicom.sql"\n{RULES}'))
    assert len(dump(archive.folder / "conquest.db")["rules_files"]) == 2


@pytest.mark.parametrize(
    "remembered", ["{", "[]", '{"kept": 1}', '{"levels": {"patient": []}, "kept": null}', '"x"', "null", "[" * 900]
)
def test_the_stored_columns_may_be_any_text(archive: Workplace, remembered: str) -> None:
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection, connection:
        connection.execute("UPDATE rules_index SET value = 'x' WHERE key = 'schema'")
        connection.execute("UPDATE rules_index SET value = ? WHERE key = 'columns'", (remembered,))
    index(archive)
    assert archive.run("plan").code == 0


def test_our_objects_are_compared_letter_by_letter(tmp_path: Path) -> None:
    layout = schema(parse(standard_text()))
    with Store(tmp_path / "conquest.db", layout) as store:
        check_objects(store.connection, tmp_path / "conquest.db")
        assert is_intact(store.connection, layout)
        assert len(objects(store.connection)) > 50


@pytest.mark.parametrize(
    "own",
    [
        "CREATE TABLE mine (a, b varchar(64) NOT NULL DEFAULT 'x', \"check\" REAL UNIQUE, PRIMARY KEY (a DESC)) WITHOUT ROWID",
        "CREATE TABLE other (a INTEGER PRIMARY KEY REFERENCES mine (a) ON DELETE CASCADE, c DEFAULT -1.5) -- of a script",
        "CREATE TABLE notes AS SELECT 1 AS a, hex('x') AS b",
        "CREATE INDEX lookup ON DICOMImages (SOPClassUI COLLATE NOCASE DESC, ObjectFile)",
        'CREATE VIEW "a view; of mine" (a) AS SELECT count(*) FROM images',
    ],
)
def test_harmless_objects_may_exist_beside_ours(archive: Workplace, own: str) -> None:
    sent(archive, own)
    assert archive.run("apply").code == 0
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection:
        assert any(each.text and each.text[:40] == own[:40] for each in objects(connection)) or " AS SELECT " in own


@pytest.mark.parametrize("kind", ["a million tables", "a text of 2 MB", "a hundred MB of texts"])
def test_a_huge_schema_is_rejected_quickly(tmp_path: Path, workplace: Workplace, kind: str) -> None:
    with closing(sqlite3.connect(tmp_path / "conquest.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE rules_index (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        number, text = {"a million tables": (30_000, ""), "a text of 2 MB": (1, "x" * 2_000_000)}.get(kind, (150, "x" * 700_000))
        connection.execute(WRITABLE)
        root = "SELECT rootpage FROM sqlite_master WHERE name = 'rules_index'"
        many = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number})"
        made = "'CREATE TABLE t' || i || '(a) -- ' || ?"
        connection.execute("BEGIN")
        connection.execute(
            f"INSERT INTO sqlite_master {many} SELECT 'table', 't' || i, 't' || i, ({root}), {made} FROM n", (text,)
        )
        connection.execute("COMMIT")
    done = workplace.rules(RULES).run("query", "SELECT 1")
    assert done.code == 1
    assert "cannot open the index" in done.err


# The files of a database


def link(file: Path, victim: Path) -> None:
    file.symlink_to(victim)


def dangling(file: Path, victim: Path) -> None:
    file.symlink_to(victim.with_name("new"))


def pipe(file: Path, victim: Path) -> None:
    os.mkfifo(file)


def folder(file: Path, victim: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("make", [link, dangling, pipe, folder])
def test_links_pipes_and_folders_instead_of_a_file_of_the_index_are_rejected(
    archive: Workplace, end: str, make: Callable[[Path, Path], None]
) -> None:
    victim = archive.folder / "victim"
    victim.write_bytes(b"precious" * 1000)
    file = archive.folder / f"conquest.db{end}"
    file.unlink(missing_ok=True)
    make(file, victim)
    for command in SOME:
        done = archive.run(*command)
        assert done.code == 1, done.err
        assert "conquest.db" in done.err
    assert victim.read_bytes() == b"precious" * 1000
    assert not victim.with_name("new").exists()


def test_a_journal_that_names_a_file_to_delete_is_rejected(archive: Workplace) -> None:
    # SQLite deletes the "super-journal" that the journal of a killed writer names, once no database needs it.
    victim = archive.folder / "victim.txt"
    victim.write_text("precious")
    sent(archive, "PRAGMA journal_mode = DELETE")
    name = bytes(victim)
    data = (archive.folder / "conquest.db").read_bytes()
    page, pages = data[:4096], len(data) // 4096
    head = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"".join(n.to_bytes(4, "big") for n in (1, 0, pages, 512, 4096))
    lock = (0x40000000 // 4096 + 1).to_bytes(4, "big")
    trailer = lock + name + b"".join(n.to_bytes(4, "big") for n in (len(name), sum(name))) + head[:8]
    journal = (
        head.ljust(512, b"\0") + (1).to_bytes(4, "big") + page + sum(page[i] for i in range(3896, 0, -200)).to_bytes(4, "big")
    )
    (archive.folder / "conquest.db-journal").write_bytes(journal + trailer)
    for command in EVERY:
        assert "conquest.db-journal names other files" in archive.run(*command).err
    assert victim.read_text() == "precious"


def test_an_index_with_a_hard_link_is_rejected(archive: Workplace) -> None:
    (archive.folder / "other.db").hardlink_to(archive.folder / "conquest.db")
    done = archive.run("plan")
    assert done.code == 1
    assert "it has a second name (a hard link)" in done.err
    assert "cp " in done.err


# What rows say


ROWS = {
    "the root of a source": [
        "UPDATE rules_sources SET path = '{outside}'",
        "UPDATE rules_files SET path = 'secret' WHERE path = '1.dcm'",
        "UPDATE DICOMImages SET ObjectFile = 'secret' WHERE ObjectFile = '1.dcm'",
    ],
    "another source": [
        "INSERT INTO rules_sources VALUES ('MAG7', 'other', '{outside}', 1)",
        "UPDATE rules_files SET device = 'MAG7', path = 'secret' WHERE path = '1.dcm'",
        "UPDATE DICOMImages SET DeviceName = 'MAG7', ObjectFile = 'secret' WHERE ObjectFile = '1.dcm'",
    ],
    "a path": [
        "UPDATE rules_files SET path = '../outside/secret' WHERE path = '1.dcm'",
        "UPDATE DICOMImages SET ObjectFile = '../outside/secret' WHERE ObjectFile = '1.dcm'",
    ],
    "no path": [
        "UPDATE rules_files SET path = x'' || '..' WHERE path = '1.dcm'",
        "UPDATE DICOMImages SET ObjectFile = '..' WHERE ObjectFile = '1.dcm'",
    ],
    "a device that is a line of dicom.ini": [
        f"UPDATE {table} SET {column} = 'MAG0' || char(10) || 'x = y'"
        for table, column in (("rules_sources", "device"), ("rules_files", "device"), ("DICOMImages", "DeviceName"))
    ],
}


@pytest.mark.parametrize("statements", ROWS.values(), ids=list(ROWS))
def test_rows_that_lead_out_of_the_sources_are_not_followed(archive: Workplace, statements: list[str]) -> None:
    outside = archive.folder / "outside"
    outside.mkdir()
    secret = outside / "secret"
    secret.write_bytes((archive.folder / "data/1.dcm").read_bytes() + b"of somebody else")
    status = secret.stat()
    silent = ["INSERT INTO rules_index VALUES ('writing', '')"]
    stamp = [f"UPDATE rules_files SET size = {status.st_size}, mtime_ns = {status.st_mtime_ns} WHERE path = '1.dcm'"]
    sent(archive, *silent, *stamp, *(statement.format(outside=outside) for statement in statements))
    sent(archive, "DELETE FROM rules_index WHERE key = 'writing'")
    archive.run("apply", "--no-index")
    assert secret.read_bytes() not in archive.files("export").values()
    served = archive.run("conquest-config").out
    assert str(outside) not in served
    assert "x = y" not in served
    assert archive.run("forget", "P1", "--files", "--yes").code != 0
    assert secret.exists()


def test_check_objects_names_the_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE rules_index (key CHECK (hex(key)))")
        with pytest.raises(DatabaseError, match="has the table"):
            check_objects(connection, tmp_path / "conquest.db")


@pytest.mark.parametrize("query", ["SELECT * FROM pragma_table_info('images')", "SELECT * FROM pragma_database_list"])
def test_queries_cannot_use_pragma_functions(archive: Workplace, query: str) -> None:
    # What this program itself asks of a schema must not open that to the queries that follow on the connection.
    sets = f'[select.first]\nlevel = "image"\nwhere = "1"\n[select.second]\nlevel = "image"\nquery = """{query}, first"""\n'
    rules = archive.folder / "rules.toml"
    rules.write_text(rules.read_text() + sets)
    for command in (["query", query], ["check"], ["query", "second"]):
        done = archive.run(*command)
        assert done.code == 2, command
        assert "must be one SELECT that only reads" in done.err
