"""A state folder that came with somebody's rules: no link in it is followed, and `state.db` holds our tables or is refused.

Its rows may say anything. No path in them leads a command out of the outputs.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pyconquest_rules.engine.ledger import Ledger
from tests.conftest import Instance, Workplace

RULES = """
outputs = ["export"]
[sources.archive]
path = "data"
[select.all]
level = "image"
where = "1"
[copy.export]
select = "all"
to = "export/{{ PatientID }}/{{ SOPInstanceUID }}.dcm"
prune = true
"""
STATE = ".pyconquest-rules"
EVERY = (["apply"], ["plan"], ["verify"], ["verify", "--repair"], ["status"], ["history"])


@pytest.fixture
def archive(workplace: Workplace, instance: Instance) -> Workplace:
    """Two instances that were copied."""
    instance("data/1.dcm", PatientID="P1")
    instance("data/2.dcm", PatientID="P1")
    assert workplace.rules(RULES).run("apply").code == 0
    return workplace


def sent(workplace: Workplace, *statements: str) -> None:
    """The state as it came with the rules: somebody ran statements on it."""
    with closing(sqlite3.connect(workplace.folder / STATE / "state.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


WRITABLE = "PRAGMA writable_schema = ON"
FOREIGN = {
    "a view in the place of a table": [
        "DROP TABLE done",
        "CREATE VIEW done AS SELECT 'x' AS destination, 'copy.export' AS action",
    ],
    "another view": ["CREATE VIEW evil AS SELECT * FROM done"],
    "a trigger": ["CREATE TRIGGER evil AFTER INSERT ON run BEGIN DELETE FROM done; END"],
    "a virtual table": ["CREATE VIRTUAL TABLE evil USING fts5(a)"],
    "an index of an expression": ["CREATE INDEX evil ON done (hex(target))"],
    "an index": ["CREATE UNIQUE INDEX evil ON failed (action)"],
    "a generated column": ["ALTER TABLE done ADD COLUMN evil AS (hex(target))"],
    "another column": ["ALTER TABLE done ADD COLUMN evil"],
    "a table": ["CREATE TABLE evil (a)"],
    "a CHECK with a function": [
        WRITABLE,
        "UPDATE sqlite_master SET sql = replace(sql, 'size INT', 'size INT CHECK (hex(1) > 0)') WHERE name = 'done'",
    ],
    "paths without case": [
        WRITABLE,
        "UPDATE sqlite_master SET sql = replace(sql, 'target TEXT', 'target TEXT COLLATE NOCASE') WHERE name = 'done'",
    ],
    "a trigger that says that it is a table": [
        "CREATE TRIGGER evil AFTER INSERT ON run BEGIN DELETE FROM done; END",
        WRITABLE,
        "UPDATE sqlite_master SET type = 'table', name = 'written', tbl_name = 'written' WHERE name = 'evil'",
    ],
}


@pytest.mark.parametrize("statements", FOREIGN.values(), ids=list(FOREIGN))
def test_a_state_with_anything_but_our_tables_is_refused(archive: Workplace, statements: list[str]) -> None:
    sent(archive, *statements)
    before = (archive.folder / STATE / "state.db").read_bytes()
    for command in EVERY if "VIEW" in statements[-1] else EVERY[:3]:
        done = archive.run(*command)
        assert done.code == 1, command
        assert "state.db: it has the" in done.err or "malformed" in done.err, command
    assert (archive.folder / STATE / "state.db").read_bytes() == before
    assert len(archive.files("export")) == 2


def test_what_is_refused_is_named_with_the_way_out(archive: Workplace) -> None:
    sent(archive, *FOREIGN["a trigger"])
    assert archive.run("apply").err.strip() == (
        f'error: cannot open {archive.folder}/{STATE}/state.db: it has the trigger "evil", which this version of the program'
        " does not make; if somebody else made the file, remove it"
    )


def test_every_table_of_a_state_is_known_whoever_made_it_first(tmp_path: Path) -> None:
    for write in (True, False, True):
        with Ledger(tmp_path, write=write) as ledger:
            assert not [*ledger.done()]


# The folder and its files


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim / "new")


def pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def device(path: Path, victim: Path) -> None:
    path.symlink_to("/dev/zero")


FILES = ("state.db", "state.db-wal", "state.db-journal", "lock", "decisions.txt", "decisions.txt.part", ".gitignore", "more")


@pytest.mark.parametrize("name", ["", *FILES])
@pytest.mark.parametrize("make", [link, dangling, pipe, device])
def test_links_and_pipes_in_the_state_folder_are_refused(
    workplace: Workplace,
    instance: Instance,
    name: str,
    make: Callable[[Path, Path], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    instance("data/1.dcm")
    victim = tmp_path_factory.mktemp("victim")
    (victim / "precious").write_text("precious")
    folder = workplace.rules(RULES).folder / STATE
    if name:
        folder.mkdir()
    make(folder / name, victim / "precious" if name else victim)
    for command in (["apply"], ["forget", "P1", "--yes"], ["verify"]):
        done = workplace.run(*command)
        assert done.code == 1, done.err
        assert STATE in done.err
    assert {file.name: file.read_text() for file in victim.iterdir()} == {"precious": "precious"}


def test_a_partial_file_of_decisions_with_another_name_is_not_written_through(archive: Workplace) -> None:
    victim = archive.folder / "victim"
    victim.write_text("precious")
    (archive.folder / STATE / "decisions.txt.part").hardlink_to(victim)
    assert archive.run("forget", "P1", "--yes").code == 0
    assert victim.read_text() == "precious"


# What rows say


OUTSIDE = ["../victim", "export/../../victim", "{folder}/victim", "victim", "export/../data/1.dcm", f"{STATE}/lock", "rules.toml"]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("command", [["apply"], ["verify", "--repair"]], ids=["prune", "repair"])
def test_a_path_that_leads_out_of_the_outputs_is_never_removed_or_replaced(
    archive: Workplace, path: str, command: list[str]
) -> None:
    path = path.format(folder=archive.folder)
    file = archive.folder / path
    if "victim" in path:
        file.resolve().write_text("precious")
    status = file.lstat()
    content = file.read_bytes()
    where = "WHERE target = (SELECT min(target) FROM done)"
    sent(
        archive,
        f"UPDATE done SET target = '{path}', size = {status.st_size}, mtime_ns = {status.st_mtime_ns} {where}",
    )
    (archive.folder / "data/2.dcm").unlink()  # the set lost something, so that there is something to prune
    archive.run(*command)
    archive.run("apply", "--allow-prune")
    assert file.read_bytes() == content


@pytest.mark.parametrize("name", ["x/../../../victim", "", "0123456", "ABCDEF01", "../..", "%s" % ("a" * 300)])
def test_temporary_files_are_not_named_by_what_a_state_says(archive: Workplace, name: str) -> None:
    sent(archive, f"UPDATE state SET value = '{name}' WHERE key = 'name'")
    done = archive.run("apply")
    assert done.code == 1
    assert "it was changed by another program" in done.err


@pytest.mark.parametrize("source", ["/dev/zero", "pipe"])
def test_a_source_that_a_state_names_is_read_only_if_it_is_a_file(archive: Workplace, source: str) -> None:
    os.mkfifo(archive.folder / "pipe")
    status = os.stat(archive.folder / source)
    stamp = f"source_size = {status.st_size}, source_mtime_ns = {status.st_mtime_ns}"
    sent(archive, f"UPDATE done SET source = CAST('{archive.folder / source}' AS BLOB), {stamp}, size = 1")
    done = archive.run("verify", "--repair")
    assert done.code == 1
    assert "not a regular file" in done.err + done.out
