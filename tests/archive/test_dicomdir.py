"""The DICOMDIR of a file-set: real instances, read back by pydicom and DCMTK."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from pydicom.fileset import FileSet
from pydicom.uid import UID

from pyconquest_rules.content import NotTransformed
from pyconquest_rules.disk.hashing import open_file
from pyconquest_rules.kinds.archive.dicomdir import NAME, Directory
from pyconquest_rules.kinds.archive.requests import file_id_of
from tests.conftest import Instance, needs


def written(files: Iterable[tuple[str, Path]], folder: Path) -> bytes:
    """Copy files into a file-set under their file IDs, and return the bytes of its DICOMDIR."""
    with Directory() as directory, open_file(os.fsencode(folder / NAME), os.O_RDWR | os.O_CREAT) as target:
        for file_id, file in files:
            (folder / file_id).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / file_id)
            with open_file(os.fsencode(file), os.O_RDONLY) as source:
                directory.add(file_id, source)
        assert directory.write(target) == os.fstat(target).st_size
    return (folder / NAME).read_bytes()


@pytest.fixture
def corpus(shared: Path) -> list[tuple[str, Path]]:
    """Instances of every kind with their file IDs: images, RT objects, SR documents, invalid UIDs, many character sets."""
    found = list[tuple[str, Path]]()
    for file in sorted(file for file in (shared / "corpus" / "pydicom").rglob("*") if file.is_file()):
        with Directory() as directory, open_file(os.fsencode(file), os.O_RDONLY) as source:
            try:
                directory.add("A", source)
            except NotTransformed:
                continue
        found.append((f"A/{len(found):08}", file))
    assert len(found) > 100
    return found


def test_pydicom_reads_it(corpus: list[tuple[str, Path]], tmp_path: Path) -> None:
    written(corpus, tmp_path)
    read, names = FileSet(tmp_path / NAME), set[str]()
    assert {Path(each.path).relative_to(tmp_path).as_posix() for each in read} == {file_id for file_id, _ in corpus}
    for each in read:
        instance = each.load()
        assert (each.SOPInstanceUID, each.SOPClassUID) == (instance.SOPInstanceUID, instance.SOPClassUID)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "PatientID"):
            assert (each[keyword].value or "") == (instance.get(keyword) or ""), keyword
        names.add(str(instance.get("PatientName", "")).rstrip(" "))
    # The record of a patient is that of one of its instances, whatever its character set is.
    shown = {str(each["PatientName"].value or "").rstrip(" ") for each in read}
    assert shown <= names
    assert "山田" in "".join(shown)


@pytest.mark.parametrize("program", ["dcmdump", "dcmmkdir"])
def test_dcmtk_reads_it(corpus: list[tuple[str, Path]], tmp_path: Path, program: str) -> None:
    needs(program, shutil.which(program) is not None)
    written(corpus, tmp_path)
    # dcmmkdir finds the record of an instance that it is to append.
    command = ["dcmdump", "-q", NAME] if program == "dcmdump" else ["dcmmkdir", "+A", "--no-backup", corpus[0][0]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    if program == "dcmdump":
        assert done.stdout.count(b"ReferencedFileID") == len(corpus)
        assert not done.stderr
    else:
        assert b"already exists" in done.stderr


def test_the_order_does_not_matter(corpus: list[tuple[str, Path]], tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert written(corpus, first) == written(reversed(corpus), second)


def test_its_uid_comes_from_its_content(instance: Instance, tmp_path: Path) -> None:
    one, other = instance("1.dcm"), instance("2.dcm", PatientID="P2")
    uids = set()
    for number, files in enumerate([[("A", one)], [("A", other)], [("B", one)], [("A", one), ("B", other)]]):
        folder = tmp_path / str(number)
        folder.mkdir()
        written(files, folder)
        uids.add(FileSet(folder / NAME).UID)
    assert len(uids) == 4
    assert all(UID(uid).is_valid and len(uid) == 44 for uid in uids)


def test_missing_elements_are_empty(instance: Instance, tmp_path: Path) -> None:
    written([("A", instance("1.dcm", PatientID=None, StudyDate=None, Modality=None, InstanceNumber=None))], tmp_path)
    [read] = FileSet(tmp_path / NAME)
    assert (read["PatientID"].value, read["StudyDate"].value, read["InstanceNumber"].value) == ("", "", None)


def test_an_empty_file_set(tmp_path: Path) -> None:
    written([], tmp_path)
    assert len(FileSet(tmp_path / NAME)) == 0


@pytest.mark.parametrize(
    ("sop_class", "message"),
    [
        ("1.2.840.10008.5.1.4.39.1", "no directory record is defined for its SOP class"),  # a colour palette has no patient
        ("1.2.276.0.7230010.3.1.0.1", "no directory record is defined for its SOP class"),
        ("1.2.840.10008.5.1.4.1.1.200.1", "no directory record is defined for its SOP class"),
    ],
)
def test_what_a_dicomdir_cannot_have(instance: Instance, tmp_path: Path, sop_class: str, message: str) -> None:
    with pytest.raises(NotTransformed, match=message):
        written([("A", instance("1.dcm", SOPClassUID=sop_class))], tmp_path)


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no DICOM")
    with pytest.raises(NotTransformed, match="a DICOMDIR cannot have it: not-dicom"):
        written([("A", tmp_path / "text")], tmp_path)


def test_file_ids_are_those_of_the_standard() -> None:
    """PS3.10 8.2: up to eight components of up to eight characters of A to Z, 0 to 9 and _."""
    file_id = file_id_of(["1.2", "1.2.3", "1.2.3.4"])
    assert file_id == "2F265I35/RQBETNVB/O9WSKRDS"
    assert [len(component) for component in file_id.split("/")] == [8, 8, 8]
    other = file_id_of(["1.2", "1.2.3", "1.2.3.5"])
    assert other.split("/")[:2] == file_id.split("/")[:2]
    assert other != file_id
