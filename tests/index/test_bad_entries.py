"""A disk that fails at one link, file or folder: the rest is indexed, and known files are kept."""

import os
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from pyconquest_rules.index.scan.walk import Skipped, walk
from tests.conftest import Done, Instance, Workplace
from tests.mounting import Mounts, mounts

__all__ = ["mounts"]

ERRORS = ("EIO", "EACCES", "ESTALE", "ELOOP", "ENAMETOOLONG", "ETIMEDOUT")

# An operation of the disk, the path at which it fails, and how many of the five known files cannot be seen then.
FAULTS = [
    ("readlink", "/data/link.dcm", 1),
    ("getattr", "/data/a/1.dcm", 1),
    ("getattr", "/data/a", 2),
    ("readdir", "/data/a", 2),
    ("readdir", "/data/a/b", 1),
    ("readdir", "/data", 5),
    ("getattr", "/data/z.dcm", 2),  # also of the link to it
]


@pytest.fixture
def disk(tmp_path: Path, mounts: Mounts, instance: Instance) -> Workplace:
    backing = tmp_path / "backing"
    for number, name in enumerate(("a/1", "a/b/2", "a-b", "z")):
        instance(backing / f"data/{name}.dcm", SOPInstanceUID=f"1.{number}")
    (backing / "data/link.dcm").symlink_to("z.dcm")
    mounts.failing(backing, tmp_path / "disk")
    return Workplace(tmp_path).rules("[sources.archive]\npath = 'disk/data'\n")


def fail(place: Workplace, *faults: str) -> None:
    (place.folder / "backing.faults").write_text("".join(f"{fault}\n" for fault in faults))


def index(place: Workplace) -> Done:
    return place.run("index", "--json")


def rows(place: Workplace) -> str:
    return place.run("query", "select SOPInstanceUID, ObjectFile from images order by 1", "--json").out


@pytest.mark.parametrize(("operation", "path", "hidden"), FAULTS)
def test_known_files_are_kept_and_the_rest_is_indexed(disk: Workplace, operation: str, path: str, hidden: int) -> None:
    assert index(disk).code == 0
    before = rows(disk)
    for error in ERRORS:
        if path == "/data/z.dcm" and error in ("ELOOP", "ENAMETOOLONG"):
            continue  # so says a link that leads to itself, or to what cannot be
        fail(disk, f"{operation} {error} {path}")
        done = index(disk)
        assert (done.code, done.summary["kept"], done.summary["vanished"]) == (1, hidden, 0), (error, done)
        assert done.summary["refused"] == {"unreadable": done.summary["skipped"]}
        assert done.summary["unchanged"] == 5 - hidden
        assert rows(disk) == before
    fail(disk)
    done = index(disk)
    assert (done.code, done.summary["unchanged"], done.summary["read"]) == (0, 5, 0)


@pytest.mark.parametrize(("operation", "path", "hidden"), FAULTS)
def test_a_first_index_has_the_rest(disk: Workplace, operation: str, path: str, hidden: int) -> None:
    fail(disk, f"{operation} EIO {path}")
    done = index(disk)
    assert (done.code, done.summary["indexed"] + done.summary["duplicate"]) == (1, 5 - hidden)
    assert done.summary["refused"] == {"unreadable": done.summary["skipped"]}
    fail(disk)
    done = index(disk)
    assert (done.code, done.summary["read"]) == (0, hidden)


@pytest.mark.parametrize("operation", ["open", "read"])
def test_a_file_that_cannot_be_read_is_tried_again(disk: Workplace, operation: str) -> None:
    assert index(disk).code == 0
    before = rows(disk)
    os.utime(disk.folder / "backing/data/a/1.dcm", ns=(1, 1))
    fail(disk, f"{operation} ESTALE /data/a/1.dcm")
    done = index(disk)
    assert (done.code, done.summary["reasons"], done.summary["vanished"]) == (1, {"unreadable": 1}, 0)
    fail(disk)
    assert index(disk).code == 0
    assert rows(disk) == before


def test_many_bad_entries_at_once_and_then_allow_vanish(disk: Workplace) -> None:
    assert index(disk).code == 0
    fail(disk, "getattr EIO /data/a", "readlink EIO /data/link.dcm", "getattr ESTALE /data/a-b.dcm")
    done = index(disk)
    assert (done.code, done.summary["kept"], done.summary["unchanged"]) == (1, 4, 1)
    report = disk.run("index", "--report", "report.jsonl")
    assert report.code == 1
    assert (disk.folder / "report.jsonl").read_text().count('"unreadable"') == 3
    done = disk.run("index", "--json", "--allow-vanish")
    assert (done.code, done.summary["kept"], done.summary["vanished"]) == (1, 0, 2)  # the others are there, and skipped


def test_a_plan_continues_with_the_files_that_the_index_has(disk: Workplace) -> None:
    select = "[select.all]\nlevel = 'image'\nwhere = '1'\n[copy.c]\nselect = 'all'\nto = 'export/{{ SOPInstanceUID }}.dcm'\n"
    disk.rules(f"[sources.archive]\npath = 'disk/data'\n{select}prune = true\n")
    assert disk.run("apply").code == 0
    fail(disk, "readdir EIO /data/a")
    done = disk.run("apply", "--json")
    assert (done.code, done.summary["done"], done.summary["unchanged"]) == (1, 0, 4)
    assert len(disk.files("export")) == 4


# Entries that are odd, or that go while they are walked.


def test_names_that_are_odd_in_every_way(workplace: Workplace, instance: Instance) -> None:
    names = [b"\xff\xfe.dcm", b"a\nb.dcm", b" ", b"-rf", b"\xed\xa0\x80", b"\x1b[31m.dcm", b"x" * 255, b"\xff\n/\xfe\r"]
    for number, name in enumerate(names):
        path = os.path.join(os.fsencode(workplace.folder), b"data", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(instance("new.dcm", SOPInstanceUID=f"1.{number}"), path)
    workplace.rules("[sources.archive]\npath = 'data'\n")
    assert index(workplace).summary["indexed"] == len(names)
    assert index(workplace).summary["unchanged"] == len(names)


def empty(folder: Path) -> None:
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()


@pytest.mark.parametrize("remove", [lambda folder: folder.rename(folder.with_name("gone")), empty])
def test_a_folder_that_vanishes_while_it_is_walked(tmp_path: Path, remove: Callable[[Path], None]) -> None:
    for folder, name in product("abc", "12"):
        (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / folder / name).touch()
    found = walk(os.fsencode(tmp_path / "data"))
    seen = [next(found).path]
    remove(tmp_path / "data/b")
    rest = [*found]
    assert not [each for each in rest if isinstance(each, Skipped)]
    seen += [each.path for each in rest]
    assert {path for path in seen if not path.startswith((b"b/", b"gone/"))} == {b"a/1", b"a/2", b"c/1", b"c/2"}


def test_broken_links_are_not_errors(workplace: Workplace, instance: Instance) -> None:
    data = instance("data/1.dcm").parent
    (data / "itself").symlink_to("itself")
    (data / "long").symlink_to("x" * 4000)
    (data / "below").symlink_to("1.dcm/x")
    (data / "gone").symlink_to("nothing")
    done = index(workplace.rules("[sources.archive]\npath = 'data'\n"))
    assert (done.code, done.summary["reasons"]) == (0, {"link-broken": 4})
