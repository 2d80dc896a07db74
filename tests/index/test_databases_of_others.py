"""Databases that are not an index, are damaged, or are rebuilt by another run."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
from pyconquest_rules.index.store.schema import schema
from pyconquest_rules.index.store.store import Store
from tests.conftest import Workplace
from tests.index.indexing import RULES, index


def conquest_database(file: Path, shared: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript((shared / "conquest/schema_dgate150e_sqlite.sql").read_text())
        connection.execute("INSERT INTO DICOMPatients (PatientID) VALUES ('P1')")


def test_a_database_of_a_conquest_server_is_not_touched(archive: Workplace, shared: Path) -> None:
    conquest_database(archive.folder / "conquest.db", shared)
    not_touched(archive, "not an index of pyconquest-rules")


def test_a_database_of_another_program_that_is_open_is_not_touched(archive: Workplace) -> None:
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
        assert (archive.folder / "conquest.db-wal").stat().st_size
        not_touched(archive, "not an index of pyconquest-rules")


def test_a_database_that_another_program_left_when_it_was_killed_is_not_repaired_by_us(archive: Workplace) -> None:
    # A hot journal: opening the database to write would roll it back.
    writes = (
        "import os, sqlite3; c = sqlite3.connect('conquest.db'); c.execute('CREATE TABLE theirs (x)'); c.commit();"
        "c.execute('PRAGMA cache_size = 1'); c.executemany('INSERT INTO theirs VALUES (?)', [('x' * 5000,)] * 100); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", writes], cwd=archive.folder, check=False)
    assert (archive.folder / "conquest.db-journal").stat().st_size
    not_touched(archive, "cannot open the index")


@pytest.mark.parametrize("content", [b"notes of mine\n" * 100, b"SQLite format 3\0" + bytes(2000), b"x", b"n" * 600])
def test_a_file_that_is_not_a_database_is_not_touched(archive: Workplace, content: bytes) -> None:
    (archive.folder / "conquest.db").write_bytes(content)
    not_touched(archive, "cannot open the index")


def not_touched(workplace: Workplace, says: str) -> None:
    """Check that `index` fails with this message, and leaves the file and its neighbours unchanged."""

    def there() -> dict[str, bytes]:
        return {
            path.name: path.read_bytes() for path in workplace.folder.iterdir() if path.is_file() and path.suffix != ".db-shm"
        }

    before = there()
    done = index(workplace)
    assert (done.code, there()) == (1, before)
    assert says in done.summary["message"]


def test_an_index_in_a_missing_folder(archive: Workplace) -> None:
    archive.rules(f'[index]\ndatabase = "nowhere/conquest.db"\n{RULES}')
    done = index(archive)
    assert (done.code, "cannot open the index" in done.summary["message"]) == (1, True)


def test_a_damaged_index_is_an_error_with_what_to_do(archive: Workplace) -> None:
    index(archive)
    with (archive.folder / "conquest.db").open("r+b") as database:
        database.seek(database.seek(0, os.SEEK_END) // 2)
        database.write(b"\xff" * 200_000)
    (archive.folder / "data/ct/1.dcm").unlink()
    done = index(archive)
    assert (done.code, "delete it and index again" in done.summary["message"]) == (1, True)
    (archive.folder / "conquest.db").unlink()
    assert index(archive).code == 0


def test_an_index_that_another_run_rebuilt_is_not_filled_by_the_old_rules(archive: Workplace) -> None:
    """Of two runs with different columns, the older one must not write rows that lack the new columns."""
    database, layout = archive.folder / "conquest.db", schema(parse(standard_text()))
    with Store(database, layout) as store:
        archive.rules(RULES + '[[schema.image]]\ncolumn = "Kilovolts"\ntag = "KVP"\n')
        index(archive)
        with pytest.raises(Exception, match="another run has rebuilt"), store.transaction():
            raise AssertionError("nothing may be written")
