"""Zip and tar files as they are written: the same bytes from the same members, and accepted by other programs."""

import os
import subprocess
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from pyconquest_rules.disk import archives
from pyconquest_rules.disk.archives import ARCHIVES, Archive, Tar, Zip
from pyconquest_rules.disk.hashing import open_file

LONG = "/".join(["a" * 200] * 5)
MEMBERS = {
    "CT/1.dcm": b"one",
    "CT/empty.dcm": b"",
    f"{LONG}/2.dcm": bytes(range(256)) * 4000,
    "MR/Größe 日本.dcm": b"\0" * 512,
}


def packed(archive: type[Archive], file: Path, members: dict[str, bytes]) -> bytes:
    """Pack members, and return the bytes of the archive."""
    source = file.with_name("source")
    with open_file(os.fsencode(file), os.O_RDWR | os.O_CREAT | os.O_TRUNC) as target, archive(target) as made:
        for name, data in members.items():
            source.write_bytes(data)
            with open_file(os.fsencode(source), os.O_RDONLY) as descriptor:
                assert made.add(name, len(data), descriptor) == sha256(data).hexdigest()
    return file.read_bytes()


@pytest.mark.parametrize("archive", ARCHIVES)
def test_the_same_members_are_the_same_bytes(archive: type[Archive], tmp_path: Path) -> None:
    first = packed(archive, tmp_path / "first", MEMBERS)
    (tmp_path / "other").mkdir()
    before = os.umask(0o077)
    try:
        assert packed(archive, tmp_path / "other" / "second", MEMBERS) == first
    finally:
        os.umask(before)


# If a change of the program or of Python changes these bytes, every archive that was ever made is made again.
@pytest.mark.parametrize(
    ("archive", "digest"),
    [
        (Zip, "08af12a8554395bf19ae217c041bdf864635dd1fbf66e734fde07f50574053ce"),
        (Tar, "175c0bda939e7b221c0c3717ef4a5b492bf97624d204722d8f49e77f26a73040"),
    ],
)
def test_the_bytes_never_change(archive: type[Archive], digest: str, tmp_path: Path) -> None:
    assert sha256(packed(archive, tmp_path / "archive", MEMBERS)).hexdigest() == digest


def test_a_zip_is_read_by_others(tmp_path: Path) -> None:
    file = tmp_path / "made.zip"
    packed(Zip, file, MEMBERS)
    with zipfile.ZipFile(file) as read:
        assert read.testzip() is None
        assert {info.filename: read.read(info) for info in read.infolist()} == MEMBERS
        assert {info.date_time for info in read.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in read.infolist()} == {0o100644}
    assert subprocess.run(["unzip", "-tq", file], capture_output=True, check=False).returncode == 0


def test_a_tar_is_read_by_others(tmp_path: Path) -> None:
    file = tmp_path / "made.tar"
    packed(Tar, file, MEMBERS)
    with tarfile.open(file) as read:
        assert {member.name: read.extractfile(member).read() for member in read} == MEMBERS  # type: ignore[union-attr]
        assert {(member.uid, member.gid, member.uname, member.mode) for member in read} == {(0, 0, "", 0o644)}
    listed = subprocess.run(["tar", "tf", file, "--quoting-style=literal"], capture_output=True, check=True)
    assert listed.stdout.decode().splitlines() == [*MEMBERS]
    assert not listed.stderr


def test_an_archive_without_members_is_valid(tmp_path: Path) -> None:
    packed(Zip, tmp_path / "made.zip", {})
    assert zipfile.ZipFile(tmp_path / "made.zip").namelist() == []
    packed(Tar, tmp_path / "made.tar", {})
    assert subprocess.run(["tar", "tf", tmp_path / "made.tar"], capture_output=True, check=True).stdout == b""


@pytest.mark.parametrize("most", [1, 100, 700, 100_000])
def test_large_numbers_are_in_the_fields_of_zip64(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With lower limits, small files have every field that otherwise only files of 4 GiB have."""
    plain = packed(Zip, tmp_path / "plain.zip", MEMBERS)
    monkeypatch.setattr(archives, "is_large", lambda number: number >= most)
    file = tmp_path / "made.zip"
    assert packed(Zip, file, MEMBERS) != plain
    with zipfile.ZipFile(file) as read:
        assert {info.filename: read.read(info) for info in read.infolist()} == MEMBERS
    assert subprocess.run(["unzip", "-tq", file], capture_output=True, check=False).returncode == 0


def test_more_than_65535_members(tmp_path: Path) -> None:
    members = {f"{number:06}.dcm": b"" for number in range(70_000)}
    packed(Zip, tmp_path / "made.zip", members)
    with zipfile.ZipFile(tmp_path / "made.zip") as read:
        assert read.namelist() == [*members]
