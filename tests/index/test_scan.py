"""Bringing the index up to date: what is read, what is told of every file, what leaves, and what a killed run costs."""

import base64
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pyconquest_rules.events import Event, FileTold, Walked
from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
from pyconquest_rules.index.scan.scan import Scan
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.scan.workers import here, pool
from pyconquest_rules.index.store.order import Order
from pyconquest_rules.index.store.schema import schema
from pyconquest_rules.index.store.store import Store
from tests.conftest import Instance, Workplace
from tests.index.indexing import counts, dump, index, rows
from tests.waiting import until

RULES = """
[sources.archive]
path = "data"
exclude = ["**/.*"]
"""


def sizes(workplace: Workplace) -> list[int]:
    """The numbers of rows in the four Conquest tables."""
    tables = ("DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages")
    return [rows(workplace, f"SELECT count(*) FROM {table}")[0][0] for table in tables]


def report(workplace: Workplace, *arguments: str) -> dict[str, tuple[str, str | None]]:
    """Outcome and reason of each file by its path from the workplace; every file is told once."""
    file = workplace.folder / "report.jsonl"
    index(workplace, "--report", str(file), *arguments)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    paths = [os.path.relpath(base64.b64decode(line["path_b64"]), os.fsencode(workplace.folder)) for line in lines]
    assert len(paths) == len(set(paths))
    return {os.fsdecode(path): (line["outcome"], line["reason"]) for path, line in zip(paths, lines, strict=True)}


@pytest.fixture
def archive(workplace: Workplace, instance: Instance) -> Workplace:
    """Two studies: one with a CT of two images and an MR of one, one with a CT of one image."""
    instance("data/ct/1.dcm", SOPInstanceUID="1.1")
    instance("data/ct/2.dcm", SOPInstanceUID="1.2")
    instance("data/mr/3.dcm", SOPInstanceUID="1.3", SeriesInstanceUID="1.2.3.2", Modality="MR")
    other = {"PatientID": "P2", "StudyInstanceUID": "1.2.2.2", "SeriesInstanceUID": "1.2.3.3"}
    instance("data/other/4.dcm", SOPInstanceUID="1.4", **other)
    return workplace.rules(RULES)


# What is read again, and what is not


def test_the_first_run_reads_everything_and_the_second_nothing(archive: Workplace) -> None:
    assert counts(index(archive)) == {"seen": 4, "read": 4, "indexed": 4}
    assert counts(index(archive)) == {"seen": 4, "unchanged": 4}
    assert sizes(archive) == [2, 2, 3, 4]


def test_a_source_that_is_named_twice_is_read_once(archive: Workplace) -> None:
    assert counts(index(archive, "archive", "archive")) == {"seen": 4, "read": 4, "indexed": 4}


def test_what_is_not_dicom_is_not_read_twice_either(archive: Workplace) -> None:
    (archive.folder / "data/notes.txt").write_text("no DICOM")
    assert counts(index(archive)) == {"seen": 5, "read": 5, "indexed": 4, "rejected": 1}
    assert counts(index(archive)) == {"seen": 5, "unchanged": 5}


def test_a_touched_file_is_read_again(archive: Workplace) -> None:
    index(archive)
    before = dump(archive.folder / "conquest.db")
    os.utime(archive.folder / "data/ct/2.dcm", ns=(1, 1))
    assert counts(index(archive)) == {"seen": 4, "read": 1, "indexed": 1, "unchanged": 3}
    after = dump(archive.folder / "conquest.db")
    assert {name for name in before if before[name] != after[name]} == {"rules_files"}


def test_mtime_going_back_counts_too(archive: Workplace) -> None:
    file = archive.folder / "data/ct/2.dcm"
    index(archive)
    os.utime(file, ns=(0, file.stat().st_mtime_ns - 1))
    assert counts(index(archive))["read"] == 1


@pytest.mark.parametrize(("name", "said"), [("1", [("late", "Roe^Jane")]), ("2", [(None, "Doe^Jane")])])
def test_the_first_file_says_the_rows_above(archive: Workplace, instance: Instance, name: str, said: list[Any]) -> None:
    index(archive)
    instance(f"data/ct/{name}.dcm", SOPInstanceUID=f"1.{name}", StudyDescription="late", PatientName="Roe^Jane")
    assert counts(index(archive)) == {"seen": 4, "read": 1, "indexed": 1, "unchanged": 3}
    assert rows(archive, "SELECT StudyDescription, PatientName FROM images WHERE SOPInstanceUID = '1.1'") == said


def test_a_series_that_is_corrected_in_two_goes_ends_all_new(archive: Workplace, instance: Instance) -> None:
    index(archive)
    for number in (1, 2):
        instance(f"data/ct/{number}.dcm", SOPInstanceUID=f"1.{number}", SeriesDescription="corrected")
        index(archive)
    ct = "SELECT SeriesDescription FROM series WHERE SeriesInstanceUID = '1.2.826.0.1.3680043.10.3.1'"
    assert rows(archive, ct) == [("corrected",)]


def test_a_file_replaced_by_another_instance(archive: Workplace, instance: Instance) -> None:
    index(archive)
    instance("data/other/4.dcm", SOPInstanceUID="1.5", PatientID="P3", StudyInstanceUID="1.2.2.3", SeriesInstanceUID="1.2.3.4")
    assert counts(index(archive)) == {"seen": 4, "read": 1, "indexed": 1, "unchanged": 3}
    assert rows(archive, "SELECT PatientID FROM patients ORDER BY 1") == [("P1",), ("P3",)]
    assert sizes(archive) == [2, 2, 3, 4]


def test_a_file_that_stops_being_dicom_leaves(archive: Workplace) -> None:
    index(archive)
    (archive.folder / "data/other/4.dcm").write_text("no longer")
    assert counts(index(archive)) == {"seen": 4, "read": 1, "rejected": 1, "unchanged": 3}
    assert sizes(archive) == [1, 1, 2, 3]


def test_a_new_file(archive: Workplace, instance: Instance) -> None:
    index(archive)
    instance("data/ct/5.dcm", SOPInstanceUID="1.5")
    assert counts(index(archive)) == {"seen": 5, "read": 1, "indexed": 1, "unchanged": 4}


def test_a_renamed_file_keeps_its_instance(archive: Workplace) -> None:
    index(archive)
    (archive.folder / "data/ct/1.dcm").rename(archive.folder / "data/moved.dcm")
    assert counts(index(archive)) == {"seen": 4, "read": 1, "indexed": 1, "unchanged": 3, "vanished": 1}
    assert rows(archive, "SELECT ObjectFile FROM images WHERE SOPInstanceUID = '1.1'") == [("moved.dcm",)]


def test_a_file_that_could_not_be_read_is_tried_again_though_it_did_not_change(archive: Workplace) -> None:
    file, away = archive.folder / "data/ct/1.dcm", archive.folder / "away.dcm"
    folder = file.parent.stat().st_mtime_ns

    def take_away(event: Event) -> None:
        if isinstance(event, Walked):
            file.rename(away)
            file.symlink_to(file.parent)  # there, but nobody can read it

    told = scan(archive, take_away)
    assert told["unreadable"] == 1
    file.unlink()
    away.rename(file)
    os.utime(file.parent, ns=(folder, folder))
    assert counts(index(archive)) == {"seen": 4, "read": 1, "indexed": 1, "unchanged": 3}


def test_a_file_that_vanishes_before_it_is_read_does_no_harm(archive: Workplace) -> None:
    def take_away(event: Event) -> None:
        if isinstance(event, Walked):
            (archive.folder / "data/ct/1.dcm").unlink()

    assert scan(archive, take_away) == {"vanished": 1}
    assert counts(index(archive)) == {"seen": 3, "unchanged": 3}


def scan(workplace: Workplace, emit: Any) -> Counter[str]:
    """Indexes without the command line, telling what goes on; gives the reasons."""
    with Store(workplace.folder / "conquest.db", schema(parse(standard_text()))) as store:
        scan = Scan(store, emit)
        scan.run([Tree("archive", workplace.folder / "data", ("**/.*",))], here)
    return scan.tally.reasons


# What leaves


def test_what_vanished_leaves_and_takes_empty_levels_along(archive: Workplace) -> None:
    index(archive)
    shutil.rmtree(archive.folder / "data/other")
    assert counts(index(archive)) == {"seen": 3, "unchanged": 3, "vanished": 1}
    assert sizes(archive) == [1, 1, 2, 3]
    assert rows(archive, "SELECT PatientID FROM DICOMPatients") == [("P1",)]


def test_a_study_that_lost_a_series_says_its_modalities_anew(archive: Workplace) -> None:
    index(archive)
    assert ("MR\\CT",) in rows(archive, "SELECT StudyModal FROM DICOMStudies")
    (archive.folder / "data/mr/3.dcm").unlink()
    index(archive)
    assert rows(archive, "SELECT StudyModal FROM DICOMStudies") == [("CT",), ("CT",)]


def test_all_that_is_said_of_an_instance_leaves_with_it(archive: Workplace, instance: Instance) -> None:
    long = {"SeriesDescription": "d" * 100, "StudyDescription": "e" * 100, "ImageType": ["I" * 16] * 10, "PatientName": "N" * 100}
    place = {"ImagePositionPatient": [0, 0, 1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    uids = {"PatientID": "P9", "StudyInstanceUID": "1.2.2.9", "SeriesInstanceUID": "1.2.3.9"}
    index(archive)
    before = dump(archive.folder / "conquest.db")
    instance("data/more/5.dcm", **long, **place, **uids, FrameOfReferenceUID="1.2.9", Modality="RTDOSE")
    index(archive)
    shutil.rmtree(archive.folder / "data/more")
    index(archive)
    assert dump(archive.folder / "conquest.db") == before


def test_a_second_patient_of_a_study_leaves_too(archive: Workplace, instance: Instance) -> None:
    index(archive)
    before = dump(archive.folder / "conquest.db")
    instance("data/zz.dcm", PatientID="Q", SeriesInstanceUID="1.2.3.9")
    index(archive)
    assert sizes(archive) == [3, 2, 4, 5]
    (archive.folder / "data/zz.dcm").unlink()
    index(archive)
    after = dump(archive.folder / "conquest.db")
    assert {name for name in before if before[name] != after[name]} <= {"rules_stale"}


def test_a_series_in_two_studies_leaves_nothing_behind(archive: Workplace, instance: Instance) -> None:
    instance("data/a.dcm", StudyInstanceUID="1.2.2.8", SeriesInstanceUID="1.2.3.8", PatientID="Q")
    instance("data/b.dcm", StudyInstanceUID="1.2.2.9", SeriesInstanceUID="1.2.3.8", PatientID="R")
    index(archive)
    assert sizes(archive) == [4, 4, 4, 6]
    (archive.folder / "data/b.dcm").unlink()
    index(archive)
    assert sizes(archive) == [3, 3, 4, 5]
    (archive.folder / "data/a.dcm").unlink()
    index(archive)
    assert sizes(archive) == [2, 2, 3, 4]


def test_a_series_that_moves_to_another_study_in_two_goes(archive: Workplace, instance: Instance) -> None:
    index(archive)
    (archive.folder / "data/mr/3.dcm").unlink()
    for number in (1, 2):
        instance(f"data/ct/{number}.dcm", SOPInstanceUID=f"1.{number}", StudyInstanceUID="1.2.2.7", PatientID="Q")
        index(archive)
    assert rows(archive, "SELECT PatientID, StudyInstanceUID, ImageCount FROM studies ORDER BY 1") == [
        ("P2", "1.2.2.2", 1),
        ("Q", "1.2.2.7", 2),
    ]
    assert sizes(archive) == [2, 2, 2, 3]


def test_a_series_whose_first_image_moves_to_the_study_of_the_others(archive: Workplace, instance: Instance) -> None:
    other = {"StudyInstanceUID": "1.2.2.7", "SOPInstanceUID": "1.2"}
    instance("data/ct/2.dcm", **other)
    index(archive)
    assert rows(archive, "SELECT count(*) FROM rules_strays") == [(1,)]
    instance("data/ct/1.dcm", **other | {"SOPInstanceUID": "1.1"})
    index(archive)
    assert rows(archive, "SELECT count(*) FROM rules_strays") == [(0,)]
    assert rows(archive, "SELECT ImageCount FROM studies WHERE StudyInstanceUID = '1.2.2.7'") == [(2,)]


def test_a_file_that_is_left_out_from_now_on_leaves(archive: Workplace) -> None:
    index(archive)
    archive.rules(RULES.replace('"**/.*"', '"**/.*", "other"'))
    assert counts(index(archive)) == {"seen": 4, "unchanged": 3, "skipped": 1}
    assert sizes(archive) == [1, 1, 2, 3]


# What is not believed to have vanished


def unchanged(workplace: Workplace, *arguments: str, says: str) -> None:
    """Indexing fails, says why, and changes nothing."""
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


# Sources


def test_a_source_that_the_rules_do_not_have(archive: Workplace) -> None:
    done = index(archive, "archiv")
    assert done.code == 2
    assert 'did you mean "archive"' in done.summary["message"]


TWO = """
[sources.first]
path = "a"
[sources.second]
path = "b"
"""


@pytest.fixture
def two(workplace: Workplace, instance: Instance) -> Workplace:
    """Two sources, with one instance each."""
    instance("a/1.dcm", SOPInstanceUID="1.1")
    instance("b/2.dcm", SOPInstanceUID="1.2")
    return workplace.rules(TWO)


def devices(workplace: Workplace) -> dict[str, str]:
    return dict(rows(workplace, "SELECT Source, DeviceName FROM images"))


def test_only_the_source_that_is_named(two: Workplace) -> None:
    assert counts(index(two, "second")) == {"seen": 1, "read": 1, "indexed": 1}
    assert counts(index(two)) == {"seen": 2, "read": 1, "indexed": 1, "unchanged": 1}
    shutil.rmtree(two.folder / "a")
    assert counts(index(two, "second")) == {"seen": 1, "unchanged": 1}
    assert sizes(two)[3] == 2


def test_a_source_that_the_rules_no_longer_have_leaves(two: Workplace) -> None:
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


# What is told


def test_every_file_is_told_once_with_its_outcome_and_reason(archive: Workplace, instance: Instance) -> None:
    data = archive.folder / "data"
    (data / "notes.txt").write_text("no DICOM")
    (data / ".hidden").touch()
    (data / "link").symlink_to("nowhere")
    shutil.copy(data / "ct/1.dcm", data / "zz-copy.dcm")
    instance("data/zz-other.dcm", SOPInstanceUID="1.1", InstanceNumber=99)
    cut = instance("data/zz-cut.dcm", pixels=bytes(1000))
    cut.write_bytes(cut.read_bytes()[:-500])
    awkward = os.path.join(os.fsencode(data), b"zz-\xff\n.dcm")
    shutil.copy(os.fsencode(data / "mr/3.dcm"), awkward)
    first = {
        "data/.hidden": ("skipped", "excluded"),
        "data/ct/1.dcm": ("indexed", None),
        "data/ct/2.dcm": ("indexed", None),
        "data/link": ("skipped", "link-broken"),
        "data/mr/3.dcm": ("indexed", None),
        "data/notes.txt": ("rejected", "not-dicom"),
        "data/other/4.dcm": ("indexed", None),
        "data/zz-copy.dcm": ("duplicate", "same-bytes"),
        "data/zz-cut.dcm": ("rejected", "truncated"),
        "data/zz-other.dcm": ("rejected", "conflict"),
        "data/zz-\udcff\n.dcm": ("duplicate", "same-bytes"),
    }
    assert report(archive) == first
    second = {path: (outcome if outcome == "skipped" else "unchanged", reason) for path, (outcome, reason) in first.items()}
    assert report(archive) == second


def test_the_report_has_whole_paths(archive: Workplace) -> None:
    file = archive.folder / "report.jsonl"
    index(archive, "--report", str(file))
    paths = {os.fsdecode(base64.b64decode(json.loads(line)["path_b64"])) for line in file.read_text().splitlines()}
    assert str((archive.folder / "data/ct/1.dcm").resolve()) in paths


def test_the_counts_add_up(archive: Workplace, instance: Instance) -> None:
    shutil.copy(archive.folder / "data/ct/1.dcm", archive.folder / "data/zz.dcm")
    instance("data/zzz.dcm", SOPInstanceUID="1.1", InstanceNumber=99)
    for _ in range(2):
        summary = index(archive).summary
        assert summary["seen"] == sum(summary[name] for name in ("indexed", "unchanged", "rejected", "skipped", "duplicate"))
        (archive.folder / "data/ct/1.dcm").unlink(missing_ok=True)


@pytest.mark.parametrize(("broken", "code"), [("no DICOM at all", 0), (None, 1)])
def test_exit_code_1_only_where_dicom_was_rejected(archive: Workplace, broken: str | None, code: int) -> None:
    file = archive.folder / "data/broken.dcm"
    file.write_bytes(broken.encode() if broken else (archive.folder / "data/ct/1.dcm").read_bytes()[:300])
    assert index(archive).code == code


def test_the_reasons_are_counted(archive: Workplace) -> None:
    (archive.folder / "data/notes.txt").write_text("no DICOM")
    (archive.folder / "data/.hidden").touch()
    assert index(archive).summary["reasons"] == {"not-dicom": 1, "excluded": 1}


# One instance in several files


@pytest.fixture
def twins(workplace: Workplace, instance: Instance) -> Workplace:
    """The same bytes under two paths, and other bytes with the same SOPInstanceUID under a third."""
    file = instance("data/1.dcm", SOPInstanceUID="1.1")
    shutil.copy(file, file.with_name("2.dcm"))
    instance("data/3.dcm", SOPInstanceUID="1.1", InstanceNumber=99)
    instance("data/4.dcm", SOPInstanceUID="1.4")
    instance("data/5.dcm", SOPInstanceUID="1.5")
    return workplace.rules(RULES)


def place(workplace: Workplace) -> str:
    (found,) = rows(workplace, "SELECT ObjectFile FROM images WHERE SOPInstanceUID = '1.1'")
    return str(found[0])


def test_the_first_of_several_files_is_the_place_of_an_instance(twins: Workplace) -> None:
    done = index(twins)
    assert counts(done) == {"seen": 5, "read": 5, "indexed": 3, "duplicate": 1, "rejected": 1, "conflict": 1}
    assert (done.code, place(twins)) == (1, "1.dcm")


def test_another_file_with_the_same_bytes_takes_over(twins: Workplace) -> None:
    index(twins)
    (twins.folder / "data/1.dcm").unlink()
    told = report(twins)
    assert told["data/2.dcm"] == ("indexed", None)
    assert told["data/3.dcm"] == ("rejected", "conflict")
    assert told["data/4.dcm"] == ("unchanged", None)
    assert place(twins) == "2.dcm"


def test_a_conflicting_file_takes_over_when_all_others_are_gone(twins: Workplace) -> None:
    index(twins)
    for name in ("1.dcm", "2.dcm"):
        (twins.folder / "data" / name).unlink()
    assert counts(index(twins)) == {"seen": 3, "read": 1, "indexed": 1, "unchanged": 2, "vanished": 2}
    assert rows(twins, "SELECT ObjectFile, InstanceNumber FROM images WHERE SOPInstanceUID = '1.1'") == [("3.dcm", 99)]
    assert counts(index(twins)) == {"seen": 3, "unchanged": 3}


def test_a_new_file_with_an_earlier_path_takes_the_place(twins: Workplace) -> None:
    index(twins)
    shutil.copy(twins.folder / "data/1.dcm", twins.folder / "data/0.dcm")
    assert counts(index(twins)) == {"seen": 6, "read": 1, "indexed": 1, "unchanged": 5}
    assert place(twins) == "0.dcm"
    assert report(twins)["data/1.dcm"] == ("unchanged", "same-bytes")


def test_the_place_becomes_another_instance(twins: Workplace, instance: Instance) -> None:
    index(twins)
    instance("data/1.dcm", SOPInstanceUID="1.9")
    done = index(twins)
    assert counts(done) == {"seen": 5, "read": 3, "indexed": 2, "rejected": 1, "conflict": 1, "unchanged": 2}
    assert place(twins) == "2.dcm"


def test_a_twin_in_a_source_that_is_not_named_takes_over(two: Workplace) -> None:
    shutil.copy(two.folder / "a/1.dcm", two.folder / "b/1.dcm")
    shutil.copy(two.folder / "a/1.dcm", two.folder / "a/unlike.dcm")
    (two.folder / "a/notes.txt").touch()
    assert counts(index(two))["duplicate"] == 2
    for name in ("1.dcm", "unlike.dcm"):
        (two.folder / "a" / name).unlink()
    assert index(two, "first", "--allow-vanish").code == 0
    assert rows(two, "SELECT Source, ObjectFile FROM images WHERE SOPInstanceUID = '1.1'") == [("second", "1.dcm")]
    assert counts(index(two)) == {"seen": 3, "unchanged": 3}


def test_a_twin_in_a_source_that_the_rules_no_longer_have(two: Workplace) -> None:
    shutil.copy(two.folder / "a/1.dcm", two.folder / "b/1.dcm")
    index(two)
    two.rules('[sources.second]\npath = "b"\n')
    index(two)
    assert rows(two, "SELECT Source, ObjectFile FROM images ORDER BY 2") == [("second", "1.dcm"), ("second", "2.dcm")]


def test_a_link_is_another_place_of_its_file(archive: Workplace) -> None:
    (archive.folder / "data/zz-link.dcm").symlink_to("ct/1.dcm")
    assert counts(index(archive)) == {"seen": 5, "read": 5, "indexed": 4, "duplicate": 1}


# Another layout

COLUMN = """
[[schema.image]]
column = "Number"
tag = "InstanceNumber"
[[schema.study]]
column = "Number"
tag = "StudyID"
"""


def test_a_new_column_is_filled_for_what_is_there_already(archive: Workplace) -> None:
    index(archive)
    before = index(archive.rules(RULES + COLUMN))
    assert (before.summary["read"], before.summary["indexed"], before.summary["unchanged"]) == (4, 0, 4)
    assert rows(archive, "SELECT Number FROM images ORDER BY SOPInstanceUID") == [(1,), (2,), (3,), (4,)]
    assert counts(index(archive)) == {"seen": 4, "unchanged": 4}


def test_views_that_somebody_made_on_ours_stay_when_columns_come(archive: Workplace) -> None:
    index(archive)
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection, connection:
        connection.execute("CREATE VIEW mine AS SELECT SOPInstanceUID FROM images WHERE InstanceNumber = 1")
    index(archive.rules(RULES + COLUMN))
    assert rows(archive, "SELECT * FROM mine") == [("1.1",)]


def test_a_changed_index_is_the_same_as_a_new_one(archive: Workplace, tmp_path_factory: pytest.TempPathFactory) -> None:
    index(archive)
    index(archive.rules(RULES + COLUMN))
    changed = dump(archive.folder / "conquest.db")
    for file in archive.folder.glob("conquest.db*"):
        file.unlink()
    index(archive)
    assert changed == dump(archive.folder / "conquest.db")


def without(*names: str) -> str:
    """The standard layout without the rows of some names."""
    return "".join(line for line in standard_text().splitlines(True) if not any(f'"{name}"' in line for name in names))


# The lookups and views of the index are made of some of these.
@pytest.mark.parametrize("name", ["KVP", "SeriesPat", "ImagePat", "FrameOfReferenceUID", "Modality", "ReferencedSOPInstanceUID"])
def test_columns_may_go_and_come_back(archive: Workplace, name: str) -> None:
    index(archive)
    (archive.folder / "dicom.sql").write_text(without(name))
    assert index(archive.rules(f'[index]\ndicom_sql = "dicom.sql"\n{RULES}')).code == 0
    columns = rows(
        archive,
        "SELECT c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.name IN ('DICOMSeries', 'DICOMImages')",
    )
    assert (name[:10],) not in columns
    assert rows(archive, "SELECT count(*) FROM images JOIN series USING (SeriesInstanceUID)") == [(4,)]
    assert index(archive.rules(RULES)).code == 0
    assert rows(archive, "SELECT count(*) FROM images WHERE Modality = 'CT' AND PatientID > ''") == [(3,)]


def test_a_column_of_another_length_makes_everything_read_again(archive: Workplace) -> None:
    index(archive)
    (archive.folder / "dicom.sql").write_text(standard_text().replace('"KVP",                       16', '"KVP", 24'))
    archive.rules(f'[index]\ndicom_sql = "dicom.sql"\n{RULES}')
    assert counts(index(archive)) == {"seen": 4, "read": 4, "indexed": 4}


def test_what_somebody_else_put_into_the_index_stays_when_the_columns_change(archive: Workplace) -> None:
    index(archive)
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection, connection:
        connection.execute("CREATE TABLE notes AS SELECT 'mine' AS text")
    (archive.folder / "dicom.sql").write_text(standard_text().replace('"KVP",                       16', '"KVP", 24'))
    assert index(archive.rules(f'[index]\ndicom_sql = "dicom.sql"\n{RULES}')).summary["indexed"] == 4
    assert rows(archive, "SELECT * FROM notes") == [("mine",)]


# Databases of others


def conquest_database(file: Path, shared: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript((shared / "conquest/schema_dgate150e_sqlite.sql").read_text())
        connection.execute("INSERT INTO DICOMPatients (PatientID) VALUES ('P1')")


def test_a_database_of_a_conquest_server_is_not_touched(archive: Workplace, shared: Path) -> None:
    conquest_database(archive.folder / "conquest.db", shared)
    not_touched(archive, "not an index of pyconquest-rules")


def test_a_database_of_another_program_that_is_open_is_not_touched(archive: Workplace) -> None:
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
        assert (archive.folder / "conquest.db-wal").stat().st_size
        not_touched(archive, "not an index of pyconquest-rules")


def test_a_database_that_another_program_left_when_it_was_killed_is_not_repaired_by_us(archive: Workplace) -> None:
    # A hot journal: opening the database to write would roll it back.
    writes = (
        "import os, sqlite3; c = sqlite3.connect('conquest.db'); c.execute('CREATE TABLE theirs (x)'); c.commit();"
        "c.execute('PRAGMA cache_size = 1'); c.executemany('INSERT INTO theirs VALUES (?)', [('x' * 5000,)] * 100); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", writes], cwd=archive.folder, check=False)
    assert (archive.folder / "conquest.db-journal").stat().st_size
    not_touched(archive, "cannot open the index")


@pytest.mark.parametrize("content", [b"notes of mine\n" * 100, b"SQLite format 3\0" + bytes(2000), b"x", b"n" * 600])
def test_a_file_that_is_no_database_is_not_touched(archive: Workplace, content: bytes) -> None:
    (archive.folder / "conquest.db").write_bytes(content)
    not_touched(archive, "cannot open the index")


def not_touched(workplace: Workplace, says: str) -> None:
    """Indexing fails, says why, and leaves the file and all beside it as they are."""

    def there() -> dict[str, bytes]:
        return {
            path.name: path.read_bytes() for path in workplace.folder.iterdir() if path.is_file() and path.suffix != ".db-shm"
        }

    before = there()
    done = index(workplace)
    assert (done.code, there()) == (1, before)
    assert says in done.summary["message"]


def test_an_index_in_a_folder_that_is_not_there(archive: Workplace) -> None:
    archive.rules(f'[index]\ndatabase = "nowhere/conquest.db"\n{RULES}')
    done = index(archive)
    assert (done.code, "cannot open the index" in done.summary["message"]) == (1, True)


def test_a_damaged_index_is_an_error_that_says_the_way_out(archive: Workplace) -> None:
    index(archive)
    with (archive.folder / "conquest.db").open("r+b") as database:
        database.seek(database.seek(0, os.SEEK_END) // 2)
        database.write(b"\xff" * 200_000)
    (archive.folder / "data/ct/1.dcm").unlink()
    done = index(archive)
    assert (done.code, "delete it and index again" in done.summary["message"]) == (1, True)
    (archive.folder / "conquest.db").unlink()
    assert index(archive).code == 0


def test_an_index_that_is_made_anew_meanwhile_is_not_filled_by_the_old_rules(archive: Workplace) -> None:
    """Two runs with other columns: the older one must not leave rows that lack the new columns."""
    database, layout = archive.folder / "conquest.db", schema(parse(standard_text()))
    with Store(database, layout) as store:
        archive.rules(RULES + '[[schema.image]]\ncolumn = "Kilovolts"\ntag = "KVP"\n')
        index(archive)
        with pytest.raises(Exception, match="has rebuilt .* with other columns"), store.transaction():
            raise AssertionError("nothing may be written")


# Several processes, and runs that are killed

MANY = 1040


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven series of a hundred images, with twins and text files among them: enough for several transactions."""
    from tests.conftest import save

    folder = tmp_path_factory.mktemp("many")
    elements = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": "1.2.3.77770000", "StudyDescription": "s" * 70}
    elements |= {"PatientID": "P66666", "StudyInstanceUID": "1.2.4.66666", "SeriesInstanceUID": "1.2.5.55555", "Modality": "CT"}
    save(folder / "template", elements | {"ImagePositionPatient": [0, 0, 1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
    template = (folder / "template").read_bytes()
    for number in range(MANY):
        series = 100 + number // 100
        data = template.replace(b"77770000", b"%08d" % number).replace(b"55555", b"%05d" % series)
        data = data.replace(b"66666", b"%05d" % (series // 3)).replace(b"CT", b"CT" if series % 2 else b"MR")
        file = folder / "data" / str(series) / f"{number}.dcm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        if number % 50 == 0:
            shutil.copy(file, file.with_suffix(".copy"))
            file.with_suffix(".txt").write_text("no DICOM")
    (folder / "rules.toml").write_text(f"rules_version = 1\n{RULES}")
    return folder


@pytest.fixture(scope="module")
def clean(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Any, ...]]]:
    """What one run that nobody disturbs makes of `many`."""
    folder = linked(many, tmp_path_factory.mktemp("clean"))
    assert Workplace(folder).run("index").code == 0
    return dump(folder / "conquest.db")


def linked(many: Path, folder: Path) -> Path:
    """A workplace of its own on the same data."""
    shutil.copy(many / "rules.toml", folder / "rules.toml")
    text = (folder / "rules.toml").read_text().replace('"data"', f'"{many}/data"')
    (folder / "rules.toml").write_text(text)
    return folder


def indexing(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pyconquest_rules", "index", "--json"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_make_one_right_index(many: Path, clean: dict[str, Any], tmp_path: Path) -> None:
    folder = linked(many, tmp_path)
    both = [indexing(folder) for _ in range(2)]
    ends = [(*process.communicate(timeout=60), process.returncode) for process in both]
    assert [code for *_, code in ends] == [0, 0], ends
    assert dump(folder / "conquest.db") == clean


ATTEMPTS = 10


def killed_once(folder: Path, happened: Callable[[], bool]) -> bool:
    """Index a folder, and kill the run once something happened; return whether it had not ended before."""
    process = indexing(folder)
    until(lambda: process.poll() is not None or happened(), 60)
    process.kill()
    process.communicate(timeout=30)
    return process.returncode == -signal.SIGKILL


def written(database: Path) -> int:
    """How many files the index knows; -1 where there is none yet."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM rules_files").fetchone()[0])
    except sqlite3.Error:
        return -1


@pytest.mark.parametrize("at_least", [-1, 0, 1, MANY])
def test_a_run_after_a_kill_does_exactly_the_rest(many: Path, clean: dict[str, Any], tmp_path: Path, at_least: int) -> None:
    folder = linked(many, tmp_path)
    database = folder / "conquest.db"
    for _ in range(ATTEMPTS):
        # -1: while it makes the tables
        if killed_once(folder, database.exists if at_least < 0 else lambda: written(database) >= at_least):
            break
        database.unlink()
    else:
        pytest.fail("each run ended before it was killed")
    before = max(0, written(folder / "conquest.db"))
    again = Workplace(folder).run("index", "--json")
    assert again.code == 0, again
    assert again.summary["read"] + before == again.summary["seen"]
    assert dump(folder / "conquest.db") == clean


def test_a_kill_while_changes_are_taken_in(many: Path, clean: dict[str, Any], tmp_path: Path) -> None:
    """Everything was touched: first all is forgotten, then all is read again."""
    shutil.copytree(many / "data", tmp_path / "data")
    shutil.copy(many / "rules.toml", tmp_path / "rules.toml")
    workplace = Workplace(tmp_path)
    workplace.run("index")
    for attempt in range(ATTEMPTS):
        for file in (tmp_path / "data").rglob("*.*"):
            os.utime(file, ns=(5, 5 + attempt))
        if killed_once(tmp_path, lambda: written(tmp_path / "conquest.db") <= MANY // 2):
            break
    else:
        pytest.fail("each run ended before it was killed")
    assert workplace.run("index").code == 0
    for file in (tmp_path / "data").rglob("*.*"):
        shutil.copystat(many / "data" / file.relative_to(tmp_path / "data"), file)
    workplace.run("index")
    assert dump(tmp_path / "conquest.db") == clean | {"rules_sources": [(b"MAG0", b"archive", os.fsencode(tmp_path / "data"), 0)]}


def children_of(process: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            found.append(int(stat.parent.name))
    return found


def descendants(process: int) -> Iterator[int]:
    for child in children_of(process):
        yield child
        yield from descendants(child)


def test_workers_end_with_a_run_that_is_killed(many: Path, tmp_path: Path) -> None:
    folder = linked(many, tmp_path)
    script = "from pyconquest_rules import app; from pyconquest_rules.index.scan.workers import pool;"
    script += "app.index(app.Rules.load('rules.toml'), workers=lambda files: pool())"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=folder)
    until(lambda: process.poll() is not None or written(folder / "conquest.db") >= 1, 60)
    workers = list(descendants(process.pid))
    assert workers
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    until(lambda: not any(map(is_running, workers)))


# Indexes with workers, and in the middle does to all of them what a terminal does for Ctrl-C.
INTERRUPTED = """
import os, signal
from pyconquest_rules.cli import main
from pyconquest_rules.index.scan import workers
from pyconquest_rules.index.store.order import Order
from pyconquest_rules.index.scan.tally import Tally

def tell(self, path, outcome):
    told(self, path, outcome)
    if self.counts["seen"] == 700:
        os.killpg(0, signal.SIGINT)

workers.WORTH_PROCESSES, told, Tally.report = 1, Tally.report, tell
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it runs in the background ignore it
main()
"""


def test_ctrl_c_ends_a_run_with_workers_in_one_line(many: Path, clean: dict[str, Any], tmp_path: Path) -> None:
    folder = linked(many, tmp_path)
    command = [sys.executable, "-c", INTERRUPTED, "index"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, start_new_session=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "error: interrupted; run it again to continue\n")
    rest = indexing(folder).communicate()[0]
    assert 0 < json.loads(rest.splitlines()[-1])["unchanged"] < 700
    assert dump(folder / "conquest.db") == clean


def test_a_worker_that_somebody_kills_does_no_harm(many: Path, clean: dict[str, Any], tmp_path: Path) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, FileTold) and not killed:
            killed.extend(worker.pid for worker in multiprocessing.active_children())
            os.kill(killed[0] or 0, signal.SIGKILL)

    killed: list[int | None] = []
    order = Order(sources=("archive",), base=tmp_path, rules=tmp_path / "rules.toml")
    with Store(tmp_path / "conquest.db", schema(parse(standard_text())), order) as store:
        Scan(store, kill).run([Tree("archive", many / "data", ("**/.*",))], lambda files: pool())
    assert killed
    assert dump(tmp_path / "conquest.db") == clean


def is_running(process: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_many_workers_come_to_the_same_as_none(many: Path, clean: dict[str, Any], tmp_path: Path) -> None:
    told: list[Event] = []
    order = Order(sources=("archive",), base=tmp_path, rules=tmp_path / "rules.toml")
    with Store(tmp_path / "conquest.db", schema(parse(standard_text())), order) as store:
        scan = Scan(store, told.append)
        scan.run([Tree("archive", many / "data", ("**/.*",))], lambda files: pool())
    assert dump(tmp_path / "conquest.db") == clean
    paths = [event.path for event in told if isinstance(event, FileTold)]
    assert paths == sorted(paths)


# What a file may hold


@pytest.mark.parametrize(
    "value",
    ["x'); DROP TABLE DICOMImages;--", '" OR ""="', "%s%n{0}", "a\0b", "a\nb", "\ufeffP1", "é" * 200, "C" * 5000, "P1\\P2"],
)
def test_hostile_values_are_values(workplace: Workplace, instance: Instance, value: str) -> None:
    instance(
        "data/1.dcm", PatientID=value, PatientName=value, StudyDescription=value, Modality=value[:16] if value.isascii() else "CT"
    )
    assert counts(index(workplace.rules(RULES))) == {"seen": 1, "read": 1, "indexed": 1}
    assert rows(workplace, "SELECT PatientID FROM patients") == [(value.replace("\0", "\ufffd"),)]
    shutil.rmtree(workplace.folder / "data")
    index(workplace, "--allow-vanish")
    assert sizes(workplace) == [0, 0, 0, 0]


def test_a_uid_that_lies_about_its_vr_is_still_the_key(workplace: Workplace, instance: Instance) -> None:
    for number in (1, 2):
        file = instance(f"data/{number}.dcm", SOPInstanceUID=f"1.2.{number}00")
        # SOPInstanceUID (0008,0018) as OB: eight bytes of head, of which the VR and a short length become a long one.
        uid = f"1.2.{number}00\0".encode()
        head = b"\x08\x00\x18\x00"
        file.write_bytes(file.read_bytes().replace(head + b"UI\x08\x00" + uid, head + b"OB\0\0\x08\0\0\0" + uid))
    assert counts(index(workplace.rules(RULES))) == {"seen": 2, "read": 2, "indexed": 2}
    assert rows(workplace, "SELECT SOPInstanc FROM DICOMImages ORDER BY 1") == [("1.2.100",), ("1.2.200",)]
    (workplace.folder / "data/1.dcm").unlink()
    index(workplace)
    assert rows(workplace, "SELECT SOPInstanceUID FROM images") == [("1.2.200",)]
