"""Store, copy and delete files: no file is changed in place, and no other file is replaced."""

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pyconquest_rules.compat.errors import Conflict, Refused
from pyconquest_rules.compat.pyconquest import pyconquest
from pyconquest_rules.errors import Error, UsageError
from tests.compat.workdir import SERIES, contents, number
from tests.conftest import Instance

pytestmark = pytest.mark.usefixtures("here")


def test_storing_never_replaces_another_file(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
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


def test_a_second_file_of_an_instance_is_a_conflict(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    first = instance("new/1.dcm", SOPInstanceUID="1.2.3", PatientComments="a")
    second = instance("new/2.dcm", SOPInstanceUID="1.2.3", PatientComments="b")
    c = pyconquest()
    c.store_dicom_file(str(first))
    c.store_dicom_file(str(second), remove_after_store=True)
    assert "already has another file of 1.2.3" in caplog.text
    assert second.exists()
    assert contents("data") == {"P1/1.dcm": first.read_bytes()}


def test_stores_an_instance_again_if_its_file_is_gone(instance: Instance) -> None:
    c = pyconquest()
    instance("new/1.dcm", SOPInstanceUID="1.2.3")
    c.store_dicom_file("new/1.dcm")
    Path("data/P1/1.dcm").unlink()
    instance("new/1.dcm", SOPInstanceUID="1.2.3", PatientComments="new")
    c.store_dicom_file("new/1.dcm")
    assert list(contents("data").values()) == list(contents("new").values())
    assert number(c) == 1


@pytest.mark.parametrize("patient", ["../../x", "/etc/x", "a/b", "..", "con", "x" * 300, "a\\b:c", "\x07"])
def test_a_hostile_patient_id_stays_in_the_data_directory(patient: str, instance: Instance, here: Path) -> None:
    instance("new/1.dcm", PatientID=patient)
    c = pyconquest(data_directory="store/data")
    c.store_dicom_file("new/1.dcm")
    c.copy_dicom_files_to_dest(seriesuid=SERIES, destination="out", UseSubDirectories=True)
    for folder in ("store", "out"):
        found = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert len(found) <= 1
        assert all(len(path.relative_to(folder).parts) <= 3 for path in found)
    assert {path.name for path in here.iterdir()} <= {"new", "store", "out", "conquest.db", "conquest.db-wal", "conquest.db-shm"}


def test_an_instance_without_patient_id_goes_to_the_data_directory_itself(instance: Instance) -> None:
    instance("new/1.dcm", PatientID="")
    c = pyconquest()
    c.store_dicom_file("new/1.dcm", sopinstance_as_filename=True)
    assert list(contents("data")) == ["1.2.826.0.1.3680043.10.1.1.dcm"]


def test_storing_a_file_at_its_own_path_keeps_it(instance: Instance) -> None:
    file = instance("data/P1/1.dcm")
    c = pyconquest()
    c.store_dicom_file(str(file), remove_after_store=True)
    assert file.exists()
    assert number(c) == 1


def test_unpacking_zips_deletes_no_other_file(instance: Instance) -> None:
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


def test_copying_never_replaces_another_file(instance: Instance) -> None:
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
    assert c.copy_dicom_files_to_dest(seriesuid=SERIES, destination="out") == copies, "the second time there is nothing to do"
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
        with pytest.raises(UsageError, match="the destination does not exist"):
            c.copy_dicom_files_to_dest(seriesuid=SERIES, **wrong)
    with pytest.raises(UsageError, match="see the log"):
        c.copy_dicom_files_to_dest(query="select", destination="out")
    assert list(contents("data")) == ["1.dcm"]


def test_copying_a_missing_file_is_an_error(instance: Instance) -> None:
    file = instance("data/1.dcm")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    file.unlink()
    with pytest.raises(Error, match="cannot be read or written"):
        c.copy_dicom_files_to_dest(seriesuid=SERIES, destination="out")


def test_deletes_files_only_on_request(instance: Instance) -> None:
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
