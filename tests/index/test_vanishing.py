"""Missing files and sources: which files are removed from the index, and when `index` stops instead."""

import os
import shutil
from pathlib import Path

from tests.conftest import Instance, Workplace
from tests.index.indexing import RULES, TWO, counts, dump, index, rows, sizes


def unchanged(workplace: Workplace, *arguments: str, says: str) -> None:
    """Check that `index` fails with this message and changes nothing."""
    before = dump(workplace.folder / "conquest.db")
    done = index(workplace, *arguments)
    assert done.code == 1
    assert says in done.summary["message"]
    assert dump(workplace.folder / "conquest.db") == before


def test_more_than_half_vanished(archive: Workplace) -> None:
    index(archive)
    shutil.rmtree(archive.folder / "data/ct")
    shutil.rmtree(archive.folder / "data/mr")
    unchanged(archive, says="3 of 4 indexed files vanished")
    assert counts(index(archive, "--allow-vanish")) == {"seen": 1, "unchanged": 1, "vanished": 3}
    assert sizes(archive) == [1, 1, 1, 1]


def test_half_of_the_files_may_vanish(archive: Workplace) -> None:
    index(archive)
    shutil.rmtree(archive.folder / "data/ct")
    assert index(archive).code == 0


def test_an_empty_mount_point(archive: Workplace) -> None:
    index(archive)
    shutil.rmtree(archive.folder / "data")
    (archive.folder / "data").mkdir()
    unchanged(archive, says="4 of 4 indexed files vanished")


def test_a_root_that_is_missing(archive: Workplace) -> None:
    index(archive)
    (archive.folder / "data").rename(archive.folder / "elsewhere")
    unchanged(archive, says="there is no folder")
    assert counts(index(archive, "--allow-vanish")) == {"vanished": 4}
    assert sizes(archive) == [0, 0, 0, 0]


def test_a_root_that_is_a_file(archive: Workplace) -> None:
    index(archive)
    shutil.rmtree(archive.folder / "data")
    (archive.folder / "data").touch()
    unchanged(archive, says="data is a file, not a folder")


def test_a_wrong_path_in_the_rules_does_not_make_the_index_forget_the_right_one(archive: Workplace) -> None:
    index(archive)
    archive.rules(RULES.replace("data", "dataa"))
    unchanged(archive, says="there is no folder")
    (archive.folder / "dataa").mkdir()
    unchanged(archive, says="vanished")


def test_one_bad_source_stops_the_others(archive: Workplace, instance: Instance) -> None:
    instance("more/5.dcm")
    archive.rules(f'{RULES}[sources.more]\npath = "more"\n')
    index(archive)
    instance("more/6.dcm")
    (archive.folder / "data").rename(archive.folder / "elsewhere")
    unchanged(archive, says="there is no folder")


def test_files_in_a_folder_that_cannot_be_read_did_not_vanish(archive: Workplace, instance: Instance) -> None:
    # A path of more than 4,096 bytes cannot be read by anybody: the tree is made under a short root and then put under a
    # long one, so the way to the last folder becomes too long.
    source = archive.folder / "data"
    room = 4000 - len(os.fsencode(source))
    inner = Path(*["d" * 99] * (room // 100))
    instance(source / inner / "5.dcm", SOPInstanceUID="1.5")
    assert index(archive).summary["indexed"] == 5
    long = archive.folder / ("l" * 200)
    source.rename(long)
    archive.rules(RULES.replace("data", long.name))
    done = index(archive)
    assert (done.code, done.summary["kept"], done.summary["reasons"]) == (1, 1, {"unreadable": 1})
    assert index(archive).summary["unchanged"] == 4
    done = index(archive, "--allow-vanish")
    assert (done.summary["vanished"], done.summary["reasons"]) == (1, {"unreadable": 1})


def test_a_source_that_the_rules_do_not_have(archive: Workplace) -> None:
    done = index(archive, "archiv")
    assert done.code == 2
    assert 'did you mean "archive"' in done.summary["message"]


def devices(workplace: Workplace) -> dict[str, str]:
    return dict(rows(workplace, "SELECT Source, DeviceName FROM images"))


def test_only_the_source_that_is_named(two: Workplace) -> None:
    assert counts(index(two, "second")) == {"seen": 1, "read": 1, "indexed": 1}
    assert counts(index(two)) == {"seen": 2, "read": 1, "indexed": 1, "unchanged": 1}
    shutil.rmtree(two.folder / "a")
    assert counts(index(two, "second")) == {"seen": 1, "unchanged": 1}
    assert sizes(two)[3] == 2


def test_a_source_that_the_rules_no_longer_have_is_removed(two: Workplace) -> None:
    index(two)
    two.rules(TWO.replace('[sources.first]\npath = "a"', ""))
    assert counts(index(two)) == {"seen": 1, "unchanged": 1}
    assert devices(two) == {"second": "MAG1"}


def test_a_source_keeps_its_device(two: Workplace, instance: Instance) -> None:
    index(two)
    assert devices(two) == {"first": "MAG0", "second": "MAG1"}
    instance("0/0.dcm", SOPInstanceUID="1.0")
    two.rules(f'[sources.zero]\npath = "0"\n{TWO}')
    index(two)
    assert devices(two) == {"first": "MAG0", "second": "MAG1", "zero": "MAG2"}
    two.rules('[sources.second]\npath = "b"\n')
    index(two)
    two.rules(TWO)
    index(two)
    assert devices(two) == {"first": "MAG0", "second": "MAG1"}


def test_a_source_that_moved_keeps_its_device_and_is_not_read_again(two: Workplace) -> None:
    index(two)
    (two.folder / "a").rename(two.folder / "new place")
    two.rules(TWO.replace('"a"', '"new place"'))
    assert counts(index(two)) == {"seen": 2, "unchanged": 2}
    assert devices(two) == {"first": "MAG0", "second": "MAG1"}
    path = rows(two, "SELECT path FROM rules_sources WHERE name = 'first'")
    assert path == [(str(two.folder / "new place"),)]


def test_sources_keep_their_devices_when_the_columns_change(two: Workplace) -> None:
    index(two)
    two.rules('[sources.second]\npath = "b"\n[[schema.image]]\ncolumn = "KVP2"\ntag = "KVP"\n')
    index(two)
    assert devices(two) == {"second": "MAG1"}
