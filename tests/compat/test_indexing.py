"""Index the data directory, as pyconquest does."""

import shutil
from pathlib import Path

import pytest

from pyconquest_rules.compat.pyconquest import pyconquest
from pyconquest_rules.errors import SourceError, UsageError
from tests.compat.workdir import DATA, SERIES, contents, number
from tests.conftest import Instance

pytestmark = pytest.mark.usefixtures("here")


def test_a_rebuild_adds_new_files_and_removes_missing_ones(instance: Instance) -> None:
    files = [instance(f"data/P1/{name}.dcm") for name in "abc"]
    c = pyconquest()
    assert c.rebuild_database_from_dicom() == 3
    instance("data/P1/d.dcm")
    files[0].unlink()
    assert c.rebuild_database_from_dicom() == 0, "files in the folder of a known patient do not count"
    assert sorted(c.get_list_of_filenames(seriesuid=SERIES) or []) == [f"data/P1/{name}.dcm" for name in "bcd"]


def test_an_unmounted_disk_removes_no_rows(instance: Instance, here: Path) -> None:
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


def test_a_rebuild_restores_rows_that_sql_deleted(instance: Instance) -> None:
    instance("data/one/1.dcm")
    instance("data/one/2.dcm")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    for table in ("dicomimages", "dicomseries", "dicompatients"):
        c.execute_db_query(f"delete from {table}")
        assert c.rebuild_database_from_dicom() == 2
        assert [number(c, table) for table in ("dicomimages", "dicomseries", "dicompatients")] == [2, 1, 1]


def test_indexes_one_folder_only_inside_the_data_directory(instance: Instance) -> None:
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


def test_the_database_may_be_in_the_data_directory(instance: Instance) -> None:
    instance("data/1.dcm")
    c = pyconquest(database_filename="data/conquest.db")
    c.rebuild_database_from_dicom()
    assert number(c) == 1
    assert number(c, "rules_files") == 1


def test_a_data_directory_may_move(instance: Instance, here: Path) -> None:
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


def test_hashes_depend_on_the_contents_only(here: Path) -> None:
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
