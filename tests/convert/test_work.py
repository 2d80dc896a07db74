"""The folder of one command: its inputs, which of its files are kept, and that nothing of it stays."""

import os
import socket
from pathlib import Path

import pytest

from pyconquest_rules.content import Part, Stamp, Verbatim
from pyconquest_rules.disk.sources import Changed
from pyconquest_rules.kinds.convert import work


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a command that has not begun."""
    made = tmp_path / "work"
    work.made(made, [])
    return made


def part(file: Path, name: str) -> Part:
    return Part(name, "1.2.3", Verbatim(os.fsencode(file), Stamp.of(file.stat())))


def kept(folder: Path, *patterns: str) -> work.Kept:
    return work.kept(folder, patterns, folder.parent / "kept")


def made(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / "outputs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)


def test_inputs_are_links_and_a_list(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    parts = [part(tmp_path / "a", "1.dcm"), part(tmp_path / "a", "1.dcm"), part(tmp_path / "b", "2.dcm")]
    work.made(tmp_path / "work", parts)
    inputs = tmp_path / "work/inputs"
    assert {link.name: (link.is_symlink(), link.read_text()) for link in inputs.iterdir()} == {
        "1.dcm": (True, "a"),
        "2.dcm": (True, "b"),
    }
    assert (tmp_path / "work/inputs.txt").read_text() == "inputs/1.dcm\ninputs/2.dcm\n"
    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700


def test_a_changed_input_is_noticed_before_and_after(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("a")
    parts = [part(file, "1.dcm")]
    work.made(tmp_path / "work", parts)
    work.check_inputs(parts)
    file.write_text("changed")
    with pytest.raises(Changed):
        work.check_inputs(parts)
    with pytest.raises(Changed):
        work.made(tmp_path / "again", parts)


def test_declared_files_are_kept_and_others_counted(folder: Path) -> None:
    made(folder, "out.nii.gz", "out.json", "sub/x_t1.nii", "sub/deeper/x_t1.nii", "note.txt", ".hidden")
    found = kept(folder, "out.nii.gz", "*.json", "sub/*_t[12].nii")
    assert {pattern: file.read_text() for pattern, file in found.files.items()} == {
        "out.nii.gz": "out.nii.gz",
        "*.json": "out.json",
        "sub/*_t[12].nii": "sub/x_t1.nii",
    }
    assert found.discarded == 3
    work.removed(folder)
    assert all(file.exists() for file in found.files.values())


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("none", 'the command made no file that matches "none"'),
        ("*.nii", 'the command made 2 files that match "*.nii"'),
        ("OUT.NII", 'the command made no file that matches "OUT.NII"'),
        ("folder", 'the command made no file that matches "folder"'),
        ("link", 'what the command made as "link" is a link, a pipe or a device'),
        ("dangling", 'what the command made as "dangling" is a link, a pipe or a device'),
        ("pipe", 'what the command made as "pipe" is a link, a pipe or a device'),
        ("socket", 'what the command made as "socket" is a link, a pipe or a device'),
        ("null", 'what the command made as "null" is a link, a pipe or a device'),
        ("hard", 'what the command made as "hard" is a hard link to another file'),
        ("linked/passwd", 'the command made no file that matches "linked/passwd"'),
    ],
)
def test_anything_else_is_refused(folder: Path, pattern: str, why: str) -> None:
    made(folder, "out.nii", "other.nii", "folder/x")
    outputs = folder / "outputs"
    (outputs / "link").symlink_to("/etc/passwd")
    (outputs / "dangling").symlink_to("nowhere")
    (outputs / "linked").symlink_to("/etc")
    os.mkfifo(outputs / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(outputs / "socket"))
    if pattern == "null":
        try:
            os.mknod(outputs / "null", 0o20666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root can make a device")
    (folder.parent / "source").write_text("source")
    os.link(folder.parent / "source", outputs / "hard")
    with pytest.raises(work.NotMade) as refused:
        kept(folder, "out.nii", pattern)
    assert str(refused.value) == why
    assert not (folder.parent / "kept").exists()


def test_whatever_is_in_a_folder_it_can_be_removed(folder: Path) -> None:
    (folder.parent / "outside").mkdir()
    (folder.parent / "outside/file").write_text("stays")
    (folder / "outputs/link").symlink_to(folder.parent / "outside")
    os.mkfifo(folder / "outputs/pipe")
    made(folder, *(f"a/{number}" for number in range(50)), "locked/inner/file")
    (folder / "outputs/locked/inner").chmod(0)
    (folder / "outputs/locked").chmod(0)
    deep = os.open(folder / "outputs", os.O_RDONLY)
    for _ in range(3000):  # far longer than a path may be
        os.mkdir("deep", dir_fd=deep)
        inner = os.open("deep", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(deep)
    work.removed(folder)
    assert sorted(os.listdir(folder.parent)) == ["outside"]
    assert (folder.parent / "outside/file").read_text() == "stays"
    work.removed(folder)


def test_the_end_of_what_was_printed_is_kept_for_this_user(tmp_path: Path) -> None:
    log, place = tmp_path / "log", tmp_path / "kept"
    log.write_text("0123456789")
    work.keep_tail(log, place, 4)
    work.keep_tail(log, place, 6)
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("456789", 0o600)
    work.keep_tail(tmp_path / "none", place, 6)
    assert place.read_text() == ""
