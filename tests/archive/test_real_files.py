"""Archives of real files: the same bytes wherever, whenever and however they are made."""

import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pydicom
import pytest
from pydicom.fileset import FileSet

from tests.conftest import REPOSITORY, needs

RULES = """
rules_version = 1
outputs = ["out"]

[sources.archive]
path = "data"

[select.all]
level = "image"
where = "1"

[archive.zips]
select = "all"
to = "out/{{ Modality | default('none') }}.zip"
member = "{{ StudyInstanceUID }}/{{ SeriesInstanceUID }}/{{ SOPInstanceUID }}.dcm"

[archive.tars]
select = "all"
to = "out/all.tar"
member = "{{ PatientID | default('nobody') }}/{{ SOPInstanceUID }}"

[archive.disc]
select = "all"
to = "out/disc.zip"
dicomdir = true
"""
COLLECTIONS = ("dcm_qa_nih", "dicompyler-core-rtchain", "highdicom", "pacsman_data")


@pytest.fixture(scope="session")
def files(shared: Path) -> list[Path]:
    """Some hundred files of real collections: CT, MR, PET, RT objects, SR documents, segmentations."""
    found = dict[str, Path]()
    for file in sorted(file for name in COLLECTIONS for file in (shared / "corpus" / name).rglob("*") if file.is_file()):
        instance = pydicom.dcmread(file, specific_tags=["SOPInstanceUID"], force=True)
        # Of two files of one instance, the index uses the one whose path comes first, which is another one in each test.
        found.setdefault(str(instance.get("SOPInstanceUID", file)), file)
    assert len(found) > 250
    return [*found.values()]


def made(folder: Path, files: list[Path], seed: int, **environment: str) -> Path:
    """Copy files into folders in another order, under other names, and pack them in a process of its own. Return its output."""
    shuffled = random.Random(seed).sample(files, len(files))
    for number, file in enumerate(shuffled):
        target = folder / "data" / str(number % (seed + 3)) / f"{number}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    (folder / "rules.toml").write_text(RULES)
    command = [sys.executable, "-m", "pyconquest_rules", "apply"]
    umask = int(environment.pop("UMASK"), 8)
    variables = {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"], **environment}
    done = subprocess.run(command, cwd=folder, env=variables, umask=umask, capture_output=True, check=False)
    assert b"failed" not in done.stdout + done.stderr, done.stdout + done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def packed(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archives of these files."""
    return made(tmp_path_factory.mktemp("packed"), files, 1, UMASK="022", TZ="UTC", LANG="C.UTF-8", PYTHONHASHSEED="1")


def test_the_same_instances_are_the_same_archives_everywhere(packed: Path, files: list[Path], tmp_path: Path) -> None:
    other = made(tmp_path / "longer/folder", files, 2, UMASK="077", TZ="Asia/Tokyo", LANG="C", PYTHONHASHSEED="2")
    digests = [{file.name: sha256(file.read_bytes()).hexdigest() for file in out.iterdir()} for out in (packed, other)]
    assert digests[0].keys() >= {"all.tar", "disc.zip", "CT.zip", "MR.zip"}
    assert digests[0] == digests[1]


def test_other_programs_accept_them(packed: Path) -> None:
    for file in packed.glob("*.zip"):
        assert subprocess.run(["unzip", "-tq", file], capture_output=True, check=False).returncode == 0
    listed = subprocess.run(["tar", "tf", packed / "all.tar"], capture_output=True, check=True)
    assert not listed.stderr
    names = listed.stdout.decode().splitlines()
    assert names == sorted(names, key=os.fsencode)


def test_they_have_the_bytes_of_the_files(packed: Path, files: list[Path]) -> None:
    """Every instance is in each archive once. Files that are no instances, or an instance again, are in none."""
    known = {sha256(file.read_bytes()).hexdigest() for file in files}
    with tarfile.open(packed / "all.tar") as tar:
        in_tar = [sha256(tar.extractfile(member).read()).hexdigest() for member in tar]  # type: ignore[union-attr]
    in_zips = list[str]()
    for file in packed.glob("*.zip"):
        if file.name != "disc.zip":
            with zipfile.ZipFile(file) as read:
                in_zips += [sha256(read.read(name)).hexdigest() for name in read.namelist()]
    assert set(in_tar) <= known
    assert sorted(in_tar) == sorted(in_zips)
    assert len(in_tar) > 200


def test_a_file_set_is_read_by_pydicom_and_dcmtk(packed: Path, tmp_path: Path) -> None:
    needs("dcmdump", shutil.which("dcmdump") is not None)
    with zipfile.ZipFile(packed / "disc.zip") as read:
        names = read.namelist()
        read.extractall(tmp_path)
    assert names[-1] == "DICOMDIR"
    assert all(re.fullmatch(r"([A-Z0-9]{8}/){2}[A-Z0-9]{8}", name) for name in names[:-1])
    read_back = FileSet(tmp_path / "DICOMDIR")
    assert {Path(each.path).relative_to(tmp_path).as_posix() for each in read_back} == {*names[:-1]}
    for each in read_back:
        instance = each.load()
        assert (each.SOPInstanceUID, each.StudyInstanceUID) == (instance.SOPInstanceUID, instance.StudyInstanceUID)
    dumped = subprocess.run(["dcmdump", "-q", "DICOMDIR"], cwd=tmp_path, capture_output=True, check=True)
    assert not dumped.stderr
    assert dumped.stdout.count(b"ReferencedFileID") == len(names) - 1
    # dcmmkdir finds a record for each file that it would append, apart from those that it cannot have: two of a newer SOP class.
    again = ["dcmmkdir", "+A", "--no-backup", "-W", "-Nxc", "+I", *names[:-1]]
    appended = subprocess.run(again, cwd=tmp_path, capture_output=True, check=False)
    errors = [line for line in appended.stderr.splitlines() if line.startswith((b"E:", b"F:"))]
    assert all(b"invalid SOP class (1.2.840.10008.5.1.4.1.1.66.7)" in line for line in errors), errors
    assert appended.stderr.count(b"already exists") >= len(names) - 1 - len(errors) - 1
