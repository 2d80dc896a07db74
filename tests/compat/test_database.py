"""The database of a script: other programs keep theirs, and SQL cannot break the index."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pyconquest_rules.compat.pyconquest import pyconquest
from pyconquest_rules.errors import DatabaseError, RulesError, SourceError, UsageError
from tests.compat.workdir import contents, number
from tests.conftest import Instance, Workplace

pytestmark = pytest.mark.usefixtures("here")


def test_never_changes_the_database_of_another_program(here: Path) -> None:
    with closing(sqlite3.connect("conquest.db")) as connection:
        connection.execute("create table DICOMseries (SeriesInst text)")
    before = contents(here)
    with pytest.raises(DatabaseError, match="move it away or give another database_filename"):
        pyconquest()
    assert contents(here) == before


def test_never_changes_a_file_that_is_not_a_database(here: Path) -> None:
    Path("conquest.db").write_text("no database, but somebody's notes\n" * 100)
    before = contents(here)
    with pytest.raises(DatabaseError):
        pyconquest()
    assert contents(here) == before


def test_never_changes_an_index_with_other_columns(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    added = '[sources.data]\npath = "data"\n[[schema.image]]\ncolumn = "Dose"\ntag = "DoseGridScaling"\n'
    assert workplace.rules(added).run("index").code == 0
    with pytest.raises(DatabaseError, match="the index of a rules file with other columns"):
        pyconquest()
    assert workplace.run("index", "--json").summary["unchanged"] == 1


def test_a_rules_file_and_a_script_share_one_index(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    c.insert_dict("mine", {"a": 1})
    workplace.rules('[sources.data]\npath = "data"\n')
    assert workplace.run("index", "--json").summary["unchanged"] == 1
    instance("data/2.dcm")
    assert workplace.run("index", "--json").summary["indexed"] == 1
    c.close_db()
    c = pyconquest()
    assert number(c) == 2
    assert number(c, "mine") == 1


def test_sql_cannot_write_internal_tables(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    instance("data/1.dcm")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    for query in (
        "delete from rules_files",
        "update rules_sources set path = ''",
        "insert into rules_index values ('a', 'b')",
        "drop table rules_files",
        "drop table dicomseries",
        "drop table geometry",
        "drop view series",
        "alter table rules_files rename to mine",
        "create table rules_mine (a)",
        "pragma writable_schema = 1",
        "pragma journal_mode = delete",
    ):
        caplog.clear()
        assert c.execute_db_query(query) is None, query
        assert "not authorized" in caplog.text
    assert c.rebuild_database_from_dicom() == 1


def test_sql_can_change_own_tables_and_columns(instance: Instance) -> None:
    instance("data/1.dcm")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    for query in (
        "create table mine as select * from dicomseries",
        "create view mine_too as select * from mine",
        "create index mine_index on mine (seriesinst)",
        "alter table mine add b",
        "alter table dicomseries add mark",
        "update dicomseries set mark = 1",
        "drop view v_series",
        "create view v_series as select * from mine",
        "pragma table_info(dicomseries)",
        "drop index mine_index",
    ):
        assert c.execute_db_query(query) is not None, query
    assert c.execute_db_query("select mark from dicomseries") == [{"mark": 1}]
    instance("data/2.dcm")
    c.rebuild_database_from_dicom()
    assert c.execute_db_query("select mark from dicomseries") == [{"mark": 1}]


def test_a_failed_query_holds_no_lock(instance: Instance) -> None:
    instance("data/1.dcm")
    c = pyconquest()
    c.execute_db_query("create table mine (a int primary key)")
    c.execute_db_query("insert into mine values (1)")
    assert c.execute_db_query("insert into mine values (1)") is None
    assert c.execute_db_query("select 1; select 2") is None
    assert c.execute_db_query("select a from mine", return_list_from_col="a") == [1]
    assert c.execute_db_query("nonsense", return_list_from_col="a") is None
    assert c.rebuild_database_from_dicom() == 1  # no lock is left


def test_an_error_without_a_connection_names_connect_db(caplog: pytest.LogCaptureFixture) -> None:
    c = pyconquest(connect_and_read_sql=False)
    assert not Path("conquest.db").exists()
    assert c.execute_db_query("select 1") is None
    assert "call connect_db() first" in caplog.text
    with pytest.raises(UsageError, match="connect_db"):
        c.create_standard_dicom_tables()
    c.connect_db()
    assert c.execute_db_query("select 1 as a") == [{"a": 1}]
    c.close_db()
    assert c.execute_db_query("select 1") is None


def test_an_invalid_dicom_sql_names_its_line() -> None:
    Path("dicom.sql").write_text("*Patient*\n{\n { 0x0010, 0x0020, PatientID, 64, SQL_C_CHAR, DT_STR }\n}\n")
    with pytest.raises(RulesError, match=r"dicom\.sql:3"):
        pyconquest()


def test_the_next_write_restores_a_column_that_a_rules_file_removed(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", StationName="A")
    c = pyconquest()
    c.add_column_to_database("DICOMimages", ["0x0008", "0x1010", "Station"])
    c.rebuild_database_from_dicom()
    query = "select station from dicomimages"
    assert c.execute_db_query(query) == [{"Station": "A"}]
    assert workplace.rules('[sources.data]\npath = "data"\n').run("index").code == 0
    assert pyconquest().execute_db_query(query) is None
    c = pyconquest()
    c.rebuild_database_from_dicom()
    assert c.execute_db_query(query) == [{"Station": "A"}]


def test_an_added_column_is_filled_and_remembered(instance: Instance) -> None:
    instance("data/1.dcm", KVP="120", StationName="A")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    c.insert_dict("mine", {"a": 1})
    c.add_column_to_database("DICOMimages", ["0x0008", "0x1010", "NameOfTheStation"])
    instance("new/2.dcm", StationName="B")
    c.store_dicom_file("new/2.dcm")
    query = "select nameofthestation as name from dicomimages order by 1"
    assert c.execute_db_query(query, return_list_from_col="name") == ["A", "B"]
    assert number(c, "mine") == 1
    c.close_db()
    instance("new/3.dcm", StationName="C")
    other = pyconquest()
    other.store_dicom_file("new/3.dcm")
    assert other.execute_db_query(query, return_list_from_col="name") == ["A", "B", "C"]
    other.create_standard_dicom_tables()
    assert other.execute_db_query(query) is None, "recreated without it"


def test_a_new_column_adds_no_other_patients(instance: Instance, here: Path) -> None:
    instance("data/P1/1.dcm", StationName="A")
    instance("data/P1/2.dcm", StationName="A")
    instance("data/P2/2.dcm", PatientID="P2")
    c = pyconquest()
    c.rebuild_database_from_dicom(mrn="P1")
    c.add_column_to_database("DICOMimages", ["0x0008", "0x1010", "Station"])
    (here / "data").rename(here / "elsewhere")
    with pytest.raises(SourceError, match="the data directory is missing"):
        c.analyse_images()
    assert number(c) == 2
    (here / "elsewhere").rename(here / "data")
    c.analyse_images()
    assert c.execute_db_query("select imagepat, station from dicomimages") == 2 * [{"ImagePat": "P1", "Station": "A"}]


@pytest.mark.parametrize(
    "definition",
    [
        ["0x0008", "0x1010", "Modality"],
        ["0x0008", "0x1010", "objectfile"],
        ["0x0008", "0x1010", "hash"],
        ["0x0008", "0x1010"],
        ["0x0008", "station", "Name"],
        ["0x300a", "0x0070", "ASequence"],
        ["0x300a", "0x0070", "Dose", 0, "0x300c"],
    ],
)
def test_an_invalid_column_is_logged(definition: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    c = pyconquest()
    c.add_column_to_database("DICOMimages", definition)
    assert "failed to add a column" in caplog.text
    c.create_standard_dicom_tables()
    assert number(c) == 0


def test_values_keep_their_quotes() -> None:
    c = pyconquest()
    row = {"name": 'O\'Brien "Bob"', "none": None, "several": [1, "a"], "order by": "x"}
    c.insert_dict("mine", row)
    c.execute_db_query(c.create_insertquery("mine", row))
    assert c.execute_db_query("select * from mine") == 2 * [
        {"name": 'O\'Brien "Bob"', "none": None, "several": "1\\a", "order by": "x"}
    ]
