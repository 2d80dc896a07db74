"""Other programs write our index: a Conquest server that deletes, moves or rebuilds, or a user with SQL.

Whatever they did, the next `index` comes to what an index made from the files alone is. What is no index of ours says so.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.conquest.dicom_sql import parse
from pyconquest_rules.index.store.schema import LEVELS, TABLES
from pyconquest_rules.index.store.schema import schema as schema_of
from pyconquest_rules.index.store.tables import declared
from tests.conftest import REPOSITORY, Instance, Workplace
from tests.index.indexing import counts, dump, index, rows

RULES = """
[sources.archive]
path = "data"
exclude = ["**/.*"]
[sources.second]
path = "second"
"""
STOCK = (REPOSITORY / "tests/data/stock_dicom.sql").read_text(encoding="utf-8")


@pytest.fixture
def archive(workplace: Workplace, instance: Instance) -> Workplace:
    """Three studies of two patients in two sources, with a duplicate, a conflict, a stray and a long name."""
    name = {"PatientName": "A" * 70}
    instance("data/ct/1.dcm", SOPInstanceUID="1.1", **name)
    instance("data/ct/2.dcm", SOPInstanceUID="1.2", **name)
    mr = {"SeriesInstanceUID": "1.2.3.2", "Modality": "MR", **name}
    instance("data/mr/3.dcm", SOPInstanceUID="1.3", **mr)
    instance("data/mr/4.dcm", SOPInstanceUID="1.4", StudyInstanceUID="1.2.2.3", **mr)
    other = {"PatientID": "P2", "StudyInstanceUID": "1.2.2.2", "SeriesInstanceUID": "1.2.3.3"}
    twin = instance("second/5.dcm", SOPInstanceUID="1.5", **other)
    (twin.parent / "twin.dcm").write_bytes(twin.read_bytes())
    instance("second/conflict.dcm", SOPInstanceUID="1.5", InstanceNumber=77, **other)
    (workplace.folder / "data/note.txt").write_text("no instance")
    return workplace.rules(RULES)


def write(workplace: Workplace, *statements: str) -> None:
    with closing(sqlite3.connect(workplace.folder / "conquest.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def held(workplace: Workplace) -> object:
    """Return all rows of the index, except those that may differ.

    These are the stale rows, the order of modalities, and `rules_several_patients`, which may have more studies than needed.
    """
    found = dump(workplace.folder / "conquest.db")
    del found["rules_stale"], found["rules_several_patients"]
    found["DICOMStudies"] = [tuple(b"CT, MR" if v in (b"CT\\MR", b"MR\\CT") else v for v in row) for row in found["DICOMStudies"]]
    return found


def as_of_the_files(workplace: Workplace) -> object:
    """Return all rows of an index that is rebuilt from the files."""
    database = workplace.folder / "conquest.db"
    aside = database.rename(workplace.folder / "aside.db")
    index(workplace)
    fresh = held(workplace)
    database.unlink()
    aside.rename(database)
    return fresh


def server_tables() -> list[str]:
    """Return the SQL of the tables that `dgate -r` creates instead of ours: with the columns of its stock dicom.sql, empty."""
    stock = schema_of(parse(STOCK))
    statements = []
    for level in LEVELS:
        own = ", ObjectFile varchar(255), DeviceName varchar(32)" if level is Level.IMAGE else ""
        columns = (
            ", ".join(map(declared, stock.level(level))) + ", AccessTime int, qTimeStamp int, qFlags int, qSpare varchar(64)"
        )
        statements += [f"DROP TABLE {TABLES[level]}", f"CREATE TABLE {TABLES[level]} ({columns}{own})"]
    return statements


SERVER_FILLS = (
    "INSERT INTO DICOMPatients (PatientID) VALUES ('P1')",
    "INSERT INTO DICOMStudies (StudyInsta, PatientID) VALUES ('1.2.2.1', 'P1')",
    "INSERT INTO DICOMSeries (SeriesInst, StudyInsta) VALUES ('1.2.3.1', '1.2.2.1')",
    "INSERT INTO DICOMImages (SOPInstanc, SeriesInst, ObjectFile, DeviceName) VALUES ('1.1', '1.2.3.1', 'ct/1.dcm', 'MAG0')",
)

WRITES: dict[str, list[str]] = {
    "an image deleted": ["DELETE FROM DICOMImages WHERE SOPInstanc = '1.2'"],
    "all images deleted": ["DELETE FROM DICOMImages"],
    "a series deleted": [
        "DELETE FROM DICOMImages WHERE SeriesInst LIKE '%.10.3.1'",
        "DELETE FROM DICOMSeries WHERE SeriesInst LIKE '%.10.3.1'",
    ],
    **{
        f"{column} of images changed": [f"UPDATE DICOMImages SET {column} = '1.2.3'"]
        for column in ("ElementCount", "ElementList", "Nfractions", "UniqueFOR_UID", "ReferencedSeriesUID", "ReferencedSOPUID")
    },
    "a series row alone deleted": ["DELETE FROM DICOMSeries WHERE Modality = 'MR'"],
    "the study rows deleted": ["DELETE FROM DICOMStudies"],
    "the patient rows deleted": ["DELETE FROM DICOMPatients"],
    "all rows deleted": [f"DELETE FROM {table}" for table in TABLES.values()],
    "the place of an image rewritten": ["UPDATE DICOMImages SET ObjectFile = 'P1/0001.v2' WHERE SOPInstanc = '1.1'"],
    "all places rewritten": ["UPDATE DICOMImages SET ObjectFile = 'x/' || ObjectFile, DeviceName = 'MAG7'"],
    "an image moved to another series": ["UPDATE DICOMImages SET SeriesInst = '9.9', ImagePat = 'P2' WHERE SOPInstanc = '1.3'"],
    "a series moved to another study": ["UPDATE DICOMSeries SET StudyInsta = '1.2.2.2' WHERE Modality = 'MR'"],
    "a study given to another patient": ["UPDATE DICOMStudies SET PatientID = 'P2' WHERE StudyInsta LIKE '%.10.2.1'"],
    "keys changed": [
        "UPDATE DICOMPatients SET PatientID = 'ANON' WHERE PatientID = 'P1'",
        "UPDATE DICOMImages SET SOPInstanc = SOPInstanc || '.7'",
    ],
    "values changed": [
        "UPDATE DICOMImages SET ImageNumbe = '99'",
        "UPDATE DICOMPatients SET PatientNam = 'X'",
        "UPDATE DICOMSeries SET SeriesDesc = 'X'",
    ],
    "strange rows inserted": [
        "INSERT INTO DICOMPatients (PatientID) VALUES ('P9')",
        "INSERT INTO DICOMStudies (StudyInsta, PatientID) VALUES ('9.1', 'P9')",
        "INSERT INTO DICOMSeries (SeriesInst, StudyInsta, SeriesPat) VALUES ('9.2', '9.1', 'P9')",
        "INSERT INTO DICOMImages (SOPInstanc, SeriesInst, ImagePat, ObjectFile) VALUES ('9.3', '9.2', 'P9', 'x')",
    ],
    "a row inserted over ours": [
        "INSERT OR REPLACE INTO DICOMImages (SOPInstanc, SeriesInst, ObjectFile) VALUES ('1.1', '1.2.3.2', 'x')"
    ],
    "the tables made anew as a server does": server_tables(),
    "the tables made anew and filled": [*server_tables(), *SERVER_FILLS],
    "one table made anew": server_tables()[4:6],
    "a table dropped": ["DROP TABLE DICOMStudies"],
    "all tables dropped": [f"DROP TABLE {table}" for table in TABLES.values()],
    "a column renamed": ["ALTER TABLE DICOMSeries RENAME COLUMN Modality TO Other"],
    "a column added": ["ALTER TABLE DICOMImages ADD COLUMN theirs TEXT", "ALTER TABLE DICOMImages DROP COLUMN theirs"],
    "views and indices dropped": ["DROP VIEW images", "DROP VIEW v_series", "DROP INDEX images_lnk"],
    "a table of ours dropped": ["DROP TABLE rules_files"],
}


@pytest.mark.parametrize("writes", WRITES.values(), ids=list(WRITES))
def test_the_next_index_restores_the_rows_from_the_files(archive: Workplace, writes: list[str]) -> None:
    assert index(archive).code == 1, "of the conflict"
    write(archive, *writes)
    done = index(archive)
    assert "message" not in done.summary, done.summary
    assert held(archive) == as_of_the_files(archive)
    names = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2"
    there = rows(archive, names)
    again = index(archive)
    assert counts(again).keys() <= {"seen", "unchanged"}, "all is back"
    (archive.folder / "conquest.db").unlink()
    index(archive)
    assert there == rows(archive, names)


def test_only_what_others_touched_is_read_again(archive: Workplace) -> None:
    index(archive)
    write(archive, "DELETE FROM DICOMImages WHERE SOPInstanc = '1.2'")
    assert counts(index(archive)) == {"seen": 8, "read": 1, "indexed": 1, "unchanged": 7}
    write(archive, "UPDATE DICOMSeries SET SeriesDesc = 'X' WHERE SeriesInst LIKE '%.10.3.1'")
    assert counts(index(archive)) == {"seen": 8, "read": 1, "indexed": 1, "unchanged": 7}
    write(archive, "UPDATE DICOMImages SET AccessTime = 1, qTimeStamp = 2", "UPDATE DICOMPatients SET qFlags = 1")
    assert counts(index(archive)) == {"seen": 8, "unchanged": 8}


def test_an_image_that_a_server_deleted_with_its_file_is_gone(archive: Workplace) -> None:
    index(archive)
    (archive.folder / "data/ct/2.dcm").unlink()
    write(archive, "DELETE FROM DICOMImages WHERE SOPInstanc = '1.2'")
    assert counts(index(archive)) == {"seen": 7, "unchanged": 7, "vanished": 1}
    assert held(archive) == as_of_the_files(archive)


def test_an_image_that_a_server_moved_with_its_file_is_found_there(archive: Workplace) -> None:
    index(archive)
    (archive.folder / "data/ct/2.dcm").rename(archive.folder / "second/2.dcm")
    write(archive, "UPDATE DICOMImages SET ObjectFile = '2.dcm', DeviceName = 'MAG1' WHERE SOPInstanc = '1.2'")
    assert index(archive).summary["vanished"] == 1
    assert rows(archive, "SELECT DeviceName, ObjectFile FROM DICOMImages WHERE SOPInstanc = '1.2'") == [("MAG1", "2.dcm")]
    assert held(archive) == as_of_the_files(archive)


def test_an_image_that_a_server_stored_in_a_source_is_indexed(archive: Workplace, instance: Instance) -> None:
    index(archive)
    instance("data/P3/1.dcm", SOPInstanceUID="1.9", PatientID="P3", StudyInstanceUID="1.2.8", SeriesInstanceUID="1.2.9")
    write(
        archive,
        "INSERT INTO DICOMImages (SOPInstanc, SeriesInst, ObjectFile, DeviceName) VALUES ('1.9', '1.2.9', 'P3/1.dcm', 'MAG0')",
        "INSERT INTO DICOMSeries (SeriesInst, StudyInsta) VALUES ('1.2.9', '1.2.8')",
    )
    assert index(archive).summary["indexed"] == 1
    assert held(archive) == as_of_the_files(archive)


def test_forgotten_instances_stay_forgotten_when_a_server_rebuilds_the_tables(archive: Workplace) -> None:
    index(archive)
    assert archive.run("forget", "P2", "--yes").code == 0
    write(archive, *server_tables(), "INSERT INTO DICOMImages (SOPInstanc, ImagePat) VALUES ('1.5', 'P2')")
    index(archive)
    assert rows(archive, "SELECT count(*) FROM images WHERE PatientID = 'P2'") == [(0,)]
    assert rows(archive, "SELECT count(*) FROM images") == [(4,)]


def test_other_data_of_a_server_stays(archive: Workplace) -> None:
    index(archive)
    write(
        archive,
        "INSERT INTO UIDMODS (OldUID) VALUES ('1')",
        "INSERT INTO DICOMWorkList (PatientID) VALUES ('W')",
        *server_tables(),
    )
    index(archive)
    assert rows(archive, "SELECT OldUID FROM UIDMODS") == [("1",)]
    assert rows(archive, "SELECT PatientID FROM DICOMWorkList") == [("W",)]


def test_a_missing_source_keeps_its_files_in_the_index(archive: Workplace) -> None:
    index(archive)
    write(archive, "UPDATE DICOMImages SET ImageNumbe = '99'")
    (archive.folder / "second").rename(archive.folder / "elsewhere")
    index(archive, "archive")
    assert rows(archive, "SELECT count(*) FROM images WHERE Source = 'second'") == [(1,)]
    assert rows(archive, "SELECT count(*) FROM images WHERE InstanceNumber = 99") == [(1,)]
    (archive.folder / "elsewhere").rename(archive.folder / "second")
    index(archive)
    assert held(archive) == as_of_the_files(archive)


# What is no index of ours


def no_database(file: Path) -> None:
    file.write_text("notes of mine\n" * 50)


def short_text(file: Path) -> None:
    file.write_text("x")


def foreign(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")


def conquest(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in [each for each in server_tables() if each.startswith("CREATE")]:
            connection.execute(statement)
        connection.execute("INSERT INTO DICOMPatients (PatientID) VALUES ('P1')")


def folder(file: Path) -> None:
    file.mkdir()


def empty(file: Path) -> None:
    file.touch()


NOT_OURS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a text": (no_database, "it is not a database; name another file as [index] database"),
    "a short text": (short_text, "it is not a database; name another file as [index] database"),
    "a database": (foreign, "is a database, not an index of pyconquest-rules; name another file as [index] database"),
    "a server's": (conquest, "is the database of a Conquest server or of pyconquest, not an index of pyconquest-rules"),
    "a folder": (folder, "it is a folder; name a file as [index] database"),
    "an empty file": (empty, "there is no index"),
}
COMMANDS = (
    ["query", "SELECT 1"],
    ["summary"],
    ["plan", "--no-index"],
    ["conquest-config"],
    ["export", "images", "-o", "out.csv"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(("make", "says"), NOT_OURS.values(), ids=list(NOT_OURS))
def test_a_foreign_database_is_named_in_the_error(
    workplace: Workplace, make: Callable[[Path], None], says: str, command: list[str]
) -> None:
    make(workplace.folder / "conquest.db")
    done = workplace.rules(RULES).run(*command)
    assert done.code == 1
    assert says in done.err
    assert str(workplace.folder / "conquest.db") in done.err


@pytest.mark.parametrize("writes", [server_tables(), ["DROP TABLE DICOMSeries"], ["DROP VIEW images"]])
def test_tables_that_others_rebuilt_are_not_queried(archive: Workplace, writes: list[str]) -> None:
    index(archive)
    write(archive, *writes)
    done = archive.run("query", "SELECT count(*) FROM images")
    assert (done.code, done.out) == (1, "")
    assert "another program changed the tables" in done.err
    assert "restore them with: pyconquest-rules index" in done.err
    index(archive)
    assert archive.run("query", "SELECT count(*) AS n FROM images").code == 0
