"""What ours promises beyond pyconquest: nothing of others is changed, nothing is lost, nothing of a patient is in the log."""

import json
import logging
import os
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pyconquest_rules.compat.errors import Conflict, Refused
from pyconquest_rules.compat.pyconquest import pyconquest
from pyconquest_rules.errors import DatabaseError, Error, RulesError, SourceError, UsageError
from tests.conftest import REPOSITORY, Instance, Workplace
from tests.docs.blocks import blocks

DATA = REPOSITORY / "examples" / "quickstart" / "data"
CT5N = "1.3.6.1.4.1.5962.1.1.0.0.0.1194734704.16302.0.6"
SERIES = "1.2.826.0.1.3680043.10.3.1"
MIGRATE = (REPOSITORY / "docs" / "migrate.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test runs in a folder of its own, as a script does. Nobody pulls the plug, so nothing waits for the disk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Hurried))
    yield tmp_path
    logging.getLogger("pyconquest").setLevel(logging.NOTSET)


class Hurried(sqlite3.Connection):
    """A connection on which no PRAGMA makes SQLite wait for the disk."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        super().execute("PRAGMA synchronous = OFF")

    def execute(self, query: str, *parameters: Any) -> sqlite3.Cursor:
        return super().execute(query.replace("synchronous = NORMAL", "synchronous = OFF"), *parameters)


def contents(folder: str | Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def number(c: pyconquest, table: str = "dicomimages") -> int:
    rows = c.execute_db_query(f"select count(*) as nr from {table}", return_list_from_col="nr")
    assert rows
    return int(rows[0])


# The database


def test_a_database_of_somebody_else_is_never_changed(here: Path) -> None:
    with closing(sqlite3.connect("conquest.db")) as connection:
        connection.execute("create table DICOMseries (SeriesInst text)")
    before = contents(here)
    with pytest.raises(DatabaseError, match="move it away or give another database_filename"):
        pyconquest()
    assert contents(here) == before


def test_a_file_that_is_no_database_is_never_changed(here: Path) -> None:
    Path("conquest.db").write_text("no database, but somebody's notes\n" * 100)
    before = contents(here)
    with pytest.raises(DatabaseError):
        pyconquest()
    assert contents(here) == before


def test_an_index_of_a_rules_file_with_other_columns_is_left_alone(workplace: Workplace, instance: Instance) -> None:
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


def test_what_the_index_needs_cannot_be_written_by_sql(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
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


def test_tables_and_columns_of_ones_own_are_free(instance: Instance) -> None:
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


def test_a_query_that_fails_leaves_nothing_open(instance: Instance) -> None:
    instance("data/1.dcm")
    c = pyconquest()
    c.execute_db_query("create table mine (a int primary key)")
    c.execute_db_query("insert into mine values (1)")
    assert c.execute_db_query("insert into mine values (1)") is None
    assert c.execute_db_query("select 1; select 2") is None
    assert c.execute_db_query("select a from mine", return_list_from_col="a") == [1]
    assert c.execute_db_query("nonsense", return_list_from_col="a") is None
    assert c.rebuild_database_from_dicom() == 1  # nobody holds a lock


def test_without_a_connection_the_way_out_is_told(caplog: pytest.LogCaptureFixture) -> None:
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


def test_a_wrong_layout_names_its_line() -> None:
    Path("dicom.sql").write_text("*Patient*\n{\n { 0x0010, 0x0020, PatientID, 64, SQL_C_CHAR, DT_STR }\n}\n")
    with pytest.raises(RulesError, match=r"dicom\.sql:3"):
        pyconquest()


def test_a_column_that_a_rules_file_took_out_comes_back_with_the_next_writing(workplace: Workplace, instance: Instance) -> None:
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


# Columns


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
    assert other.execute_db_query(query) is None, "made anew without it"


def test_an_index_of_some_patients_stays_one_of_some_patients_with_a_new_column(instance: Instance, here: Path) -> None:
    instance("data/P1/1.dcm", StationName="A")
    instance("data/P1/2.dcm", StationName="A")
    instance("data/P2/2.dcm", PatientID="P2")
    c = pyconquest()
    c.rebuild_database_from_dicom(mrn="P1")
    c.add_column_to_database("DICOMimages", ["0x0008", "0x1010", "Station"])
    (here / "data").rename(here / "elsewhere")
    with pytest.raises(SourceError, match="which is not there"):
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
def test_a_column_that_cannot_be_is_told(definition: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    c = pyconquest()
    c.add_column_to_database("DICOMimages", definition)
    assert "failed to add a column" in caplog.text
    c.create_standard_dicom_tables()
    assert number(c) == 0


# Bringing the index up to date


def test_a_rebuild_sees_what_is_new_and_what_vanished(instance: Instance) -> None:
    files = [instance(f"data/P1/{name}.dcm") for name in "abc"]
    c = pyconquest()
    assert c.rebuild_database_from_dicom() == 3
    instance("data/P1/d.dcm")
    files[0].unlink()
    assert c.rebuild_database_from_dicom() == 0, "the folder of a known patient does not count"
    assert sorted(c.get_list_of_filenames(seriesuid=SERIES) or []) == [f"data/P1/{name}.dcm" for name in "bcd"]


def test_a_disk_that_is_not_mounted_costs_no_rows(instance: Instance, here: Path) -> None:
    instance("data/1.dcm")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    (here / "data").rename(here / "elsewhere")
    assert c.rebuild_database_from_dicom() == 0
    (here / "data").mkdir()
    with pytest.raises(SourceError, match=r"create_standard_dicom_tables\(\) first"):
        c.rebuild_database_from_dicom()
    assert number(c) == 1
    c.create_standard_dicom_tables()
    assert c.rebuild_database_from_dicom() == 0


def test_rows_that_were_deleted_by_sql_come_back(instance: Instance) -> None:
    instance("data/one/1.dcm")
    instance("data/one/2.dcm")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    for table in ("dicomimages", "dicomseries", "dicompatients"):
        c.execute_db_query(f"delete from {table}")
        assert c.rebuild_database_from_dicom() == 2
        assert [number(c, table) for table in ("dicomimages", "dicomseries", "dicompatients")] == [2, 1, 1]


def test_one_folder_is_indexed_alone_and_only_inside_the_data_directory(instance: Instance) -> None:
    instance("data/P1/1.dcm")
    instance("data/P2/2.dcm", PatientID="P2")
    instance("other/3.dcm")
    c = pyconquest()
    assert c.rebuild_database_from_dicom(mrn="P2") == 1
    assert c.execute_db_query("select patientid from dicompatients") == [{"PatientID": "P2"}]
    assert c.rebuild_database_from_dicom() == 1, "P2 is known"
    assert number(c) == 2
    with pytest.raises(UsageError):
        c.rebuild_database_from_dicom(mrn="../other")


def test_the_database_may_lie_in_the_data_directory(instance: Instance) -> None:
    instance("data/1.dcm")
    c = pyconquest(database_filename="data/conquest.db")
    c.rebuild_database_from_dicom()
    assert number(c) == 1
    assert number(c, "rules_files") == 1


def test_a_moved_data_directory_is_followed(instance: Instance, here: Path) -> None:
    instance("data/1.dcm")
    pyconquest().rebuild_database_from_dicom()
    (here / "data").rename(here / "moved")
    c = pyconquest(data_directory="moved")
    assert c.copy_dicom_files_to_dest(seriesuid=SERIES, destination="out") == ["out/1.dcm"]
    c.delete_series(seriesuid=SERIES, delete_files=True)
    assert contents("moved") == {}


def test_a_data_set_in_memory_is_indexed(instance: Instance) -> None:
    from pydicom import Dataset, dcmread

    c = pyconquest()
    dataset = dcmread(instance("elsewhere/1.dcm", PatientName="Doe^Jane", PixelSpacing=["1", "2"], pixels=b"1234"))
    dataset.PatientID = "renamed"
    c.write_tags(dataset)
    assert c.execute_db_query("select patientid from dicompatients") == [{"PatientID": "renamed"}]
    assert c.execute_db_query("select pixelspaci from dicomimages") == [{"PixelSpaci": "1\\2"}]
    assert c.execute_db_query("select TransferSyntaxUID as uid from images") == [{"uid": "1.2.840.10008.1.2.1"}]
    with pytest.raises(UsageError):
        c.write_tags(Dataset())


# Storing


def test_other_bytes_are_never_replaced_in_the_data_directory(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    instance("new/a/1.dcm", PatientComments="a")
    instance("new/b/1.dcm", PatientComments="b")
    c = pyconquest(loglevel="INFO")
    for _ in range(2):
        assert c.store_dicom_files_from_directory("new") == 1
        assert sorted(contents("data").values()) == sorted(contents("new").values())
    assert sorted(contents("data"))[0] == "P1/1.dcm"
    assert re.fullmatch(r"P1/1~[0-9a-f]{12}\.dcm", sorted(contents("data"))[1])
    assert number(c) == 2
    assert "another file has the name" in caplog.text


def test_one_instance_with_other_bytes_is_a_conflict_and_its_file_stays(
    instance: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    first = instance("new/1.dcm", SOPInstanceUID="1.2.3", PatientComments="a")
    second = instance("new/2.dcm", SOPInstanceUID="1.2.3", PatientComments="b")
    c = pyconquest()
    c.store_dicom_file(str(first))
    c.store_dicom_file(str(second), remove_after_store=True)
    assert "holds 1.2.3 with other bytes" in caplog.text
    assert second.exists()
    assert contents("data") == {"P1/1.dcm": first.read_bytes()}


def test_an_instance_whose_file_is_gone_can_be_stored_again(instance: Instance) -> None:
    c = pyconquest()
    instance("new/1.dcm", SOPInstanceUID="1.2.3")
    c.store_dicom_file("new/1.dcm")
    Path("data/P1/1.dcm").unlink()
    instance("new/1.dcm", SOPInstanceUID="1.2.3", PatientComments="new")
    c.store_dicom_file("new/1.dcm")
    assert list(contents("data").values()) == list(contents("new").values())
    assert number(c) == 1


@pytest.mark.parametrize("patient", ["../../x", "/etc/x", "a/b", "..", "con", "x" * 300, "a\\b:c", "\x07"])
def test_a_hostile_patient_stays_in_the_data_directory(patient: str, instance: Instance, here: Path) -> None:
    instance("new/1.dcm", PatientID=patient)
    c = pyconquest(data_directory="store/data")
    c.store_dicom_file("new/1.dcm")
    c.copy_dicom_files_to_dest(seriesuid=SERIES, destination="out", UseSubDirectories=True)
    for folder in ("store", "out"):
        found = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert len(found) <= 1
        assert all(len(path.relative_to(folder).parts) <= 3 for path in found)
    assert {path.name for path in here.iterdir()} <= {"new", "store", "out", "conquest.db", "conquest.db-wal", "conquest.db-shm"}


def test_an_instance_without_patient_is_stored_in_the_data_directory_itself(instance: Instance) -> None:
    instance("new/1.dcm", PatientID="")
    c = pyconquest()
    c.store_dicom_file("new/1.dcm", sopinstance_as_filename=True)
    assert list(contents("data")) == ["1.2.826.0.1.3680043.10.1.1.dcm"]


def test_a_file_stored_in_its_own_place_stays_there(instance: Instance) -> None:
    file = instance("data/P1/1.dcm")
    c = pyconquest()
    c.store_dicom_file(str(file), remove_after_store=True)
    assert file.exists()
    assert number(c) == 1


def test_zips_are_read_and_nobodys_files_are_cleared(instance: Instance) -> None:
    Path("unpack").mkdir()
    Path("unpack/precious.txt").write_text("mine")
    Path("in").mkdir()
    with zipfile.ZipFile("in/a.zip", "w") as packed:
        packed.write(instance("new/1.dcm"), "deep/1.dcm")
        packed.write(instance("new/2.dcm"), "../../2.dcm")
    Path("in/broken.zip").write_bytes(Path("in/a.zip").read_bytes()[200:])
    c = pyconquest()
    assert c.store_dicom_files_from_directory("in", sopinstance_as_filename=True) == 1
    assert number(c) == 2
    assert contents("unpack") == {"precious.txt": b"mine"}
    assert c.store_dicom_files_from_directory("in", unzip=False) == 1
    assert number(c) == 2


# Copying


def test_other_bytes_are_never_replaced_at_a_destination(instance: Instance) -> None:
    instance("data/a/1.dcm")
    instance("data/b/1.dcm")
    Path("out").mkdir()
    Path("out/1.dcm").write_text("somebody's")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    copies = c.copy_dicom_files_to_dest(seriesuid=SERIES, destination="out")
    assert isinstance(copies, list)
    assert Path("out/1.dcm").read_text() == "somebody's"
    assert sorted(Path(copy).read_bytes() for copy in copies) == sorted(contents("data").values())
    assert c.copy_dicom_files_to_dest(seriesuid=SERIES, destination="out") == copies, "a second time nothing is to be done"
    assert len(contents("out")) == 3
    Path(copies[0]).write_text("somebody's too")
    with pytest.raises(Conflict, match="give another destination"):
        c.copy_dicom_files_to_dest(seriesuid=SERIES, destination="out")


def test_nothing_is_copied_into_the_data_directory(instance: Instance) -> None:
    instance("data/1.dcm")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    with pytest.raises(UsageError, match="inside a source"):
        c.copy_dicom_files_to_dest(seriesuid=SERIES, destination="data/copies")
    for wrong in ({"destination": ""}, {"destination": "new", "CreateDir": False}):
        with pytest.raises(UsageError, match="no such destination"):
            c.copy_dicom_files_to_dest(seriesuid=SERIES, **wrong)
    with pytest.raises(UsageError, match="the log says why"):
        c.copy_dicom_files_to_dest(query="select", destination="out")
    assert list(contents("data")) == ["1.dcm"]


def test_files_that_are_gone_are_told(instance: Instance) -> None:
    file = instance("data/1.dcm")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    file.unlink()
    with pytest.raises(Error, match="cannot be read or written"):
        c.copy_dicom_files_to_dest(seriesuid=SERIES, destination="out")


# Deleting


def test_files_go_only_when_that_is_asked(instance: Instance) -> None:
    instance("data/a/1.dcm")
    shutil.copytree("data/a", "data/b")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    before = contents("data")
    c.delete_series(seriesuid=SERIES)
    assert contents("data") == before
    assert number(c) == number(c, "dicomseries") == number(c, "dicompatients") == 0
    c.rebuild_database_from_dicom()
    c.delete_series(seriesuid=SERIES, delete_files=True)
    assert list(contents("data")) == ["b/1.dcm"], "the file of the row, not the copy beside it"


# Hashes


def test_hashes_are_of_the_contents(here: Path) -> None:
    from pydicom import dcmread

    Path("data").mkdir()
    for name, uid in (("a", "1.2.3"), ("b", "1.2.4")):
        dataset = dcmread(DATA / "phantom" / "rt.dcm")
        dataset.SOPInstanceUID = uid
        dataset.SeriesInstanceUID = f"{uid}.1"
        dataset.save_as(f"data/{name}.dcm")
    shutil.copy(DATA / "clinic" / "CT_small.dcm", "data")
    c = pyconquest(compute_hash=True)
    c.rebuild_database_from_dicom()
    hashes = c.execute_db_query("select hash from dicomimages where hash is not null", return_list_from_col="hash")
    assert hashes == 2 * [c.calculate_robust_hash("1.2.3.1")]
    assert c.calculate_robust_hash("1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322") == ""
    assert c.calculate_robust_hash("1.2") is None


# What is refused


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("change_tag", {"filename": "new/1.dcm"}),
        ("change_all_tags", {"filename": ["new/1.dcm"]}),
        ("modify_rtstruct", {"filename": "new/1.dcm", "mode": "leave", "roiname": ["PTV"], "write_file": True}),
        ("store_dicom_file", {"filename": "new/1.dcm", "force_patientid": "P2"}),
        ("store_dicom_files_from_directory", {"directory_name": "new", "force_patientid": "P2"}),
    ],
)
def test_files_are_not_changed_in_place(method: str, arguments: dict[str, Any], instance: Instance) -> None:
    instance("new/1.dcm")
    before = contents("new")
    with pytest.raises(Refused, match="change a copy with pydicom"):
        getattr(pyconquest(), method)(**arguments)
    assert contents("new") == before
    assert not Path("data").exists()


# The log


def test_nothing_of_a_patient_is_in_the_log(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    secret = "Doe"
    instance("data/Doe/1.dcm", PatientID="Doe", PatientName="Doe^Jane")
    instance("new/1.dcm", PatientID="Doe", PatientComments="other")
    c = pyconquest(loglevel="DEBUG")
    with caplog.at_level(logging.DEBUG, logger="pyconquest"):
        c.rebuild_database_from_dicom()
        for query in (
            "select * from dicompatients where patientid='Doe'",
            "select Doe from dicompatients",
            "select * from Doe",
            "select 'Doe' from dicompatients 'Doe' 'Doe'",
            "insert into dicompatients (patientid) values ('Doe')",
        ):
            c.execute_db_query(query)
        c.insert_dict("Doe", {"Doe": "Doe"})
        c.insert_dict("dicompatients", {"PatientID": "Doe"})
        c.store_dicom_files_from_directory("new")
        c.copy_dicom_files_to_dest(query="select seriesinst from dicomseries", destination="out", UseSubDirectories=True)
        c.rebuild_database_from_dicom(mrn="Doe")
        c.rebuild_database_from_dicom(mrn="Doe2")
        c.delete_series(mrn="Doe")
        c.dump_data_to_csv()
        c.close_db()
    assert len(caplog.records) > 5
    assert secret not in caplog.text


def test_the_summary_is_printed_and_can_be_silent(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(DATA, "data")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    c.dicom_series_summary(print_summary=False)
    assert capsys.readouterr().out == ""
    rows = c.dicom_series_summary(orderby="patientid")
    assert capsys.readouterr().out.splitlines()[1] == "1    1CT1          1    0    0       0         0         0       "
    assert rows
    assert rows[0] == {"PatientID": "1CT1", "nrCT": 1, "nrMR": 0, "nrPT": 0, "nrRTSTRUCT": 0, "nrRTDOSE": 0, "nrRTPLAN": 0}
    assert c.dicom_series_summary(orderby="nothing") is None


def test_values_with_quotes_stay_whole() -> None:
    c = pyconquest()
    row = {"name": 'O\'Brien "Bob"', "none": None, "several": [1, "a"], "order by": "x"}
    c.insert_dict("mine", row)
    c.execute_db_query(c.create_insertquery("mine", row))
    assert c.execute_db_query("select * from mine") == 2 * [
        {"name": 'O\'Brien "Bob"', "none": None, "several": "1\\a", "order by": "x"}
    ]


# docs/migrate.md


def test_the_python_of_the_page_runs(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(DATA, workplace.folder / "data")
    rules, _ = blocks(MIGRATE, "toml")  # what needs the network is run in test_network.py
    (workplace.folder / "rules.toml").write_text(rules, encoding="utf-8")
    old, new, _, listed = blocks(MIGRATE, "python")
    exec(old, {})
    assert len(contents("CTdata")) == 10
    exec(new, {})
    said = capsys.readouterr().out
    assert "('PatientID', 'ImageCount') [('1CT1', 1)" in said
    assert "'done': 10" in said
    exec(listed, {})
    assert "['ROI-1']" in capsys.readouterr().out
    names, matches = (workplace.run("query", query, "--json") for query in blocks(MIGRATE, "sql"))
    assert (names.code, names.summary["rows"], matches.code) == (0, 1, 0)


def test_the_page_names_every_method() -> None:
    methods: dict[str, str] = json.loads((Path(__file__).parent / "signatures.json").read_text(encoding="utf-8"))
    table = MIGRATE.partition("## Method by method")[2].partition("## What differs")[0]
    for method in methods.keys() - {"__init__"}:
        assert f"`{method}`" in table, method
