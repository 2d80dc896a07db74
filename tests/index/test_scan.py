"""Bringing the index up to date: which files are read, and which instances are removed."""

import os
import shutil
from collections import Counter
from typing import Any

import pytest

from pyconquest_rules.events import Event, Walked
from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
from pyconquest_rules.index.scan.scan import Scan
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.scan.workers import here
from pyconquest_rules.index.store.schema import schema
from pyconquest_rules.index.store.store import Store
from tests.conftest import Instance, Workplace
from tests.index.indexing import RULES, counts, dump, index, rows, sizes


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
def test_the_first_file_defines_the_rows_above(archive: Workplace, instance: Instance, name: str, said: list[Any]) -> None:
    index(archive)
    instance(f"data/ct/{name}.dcm", SOPInstanceUID=f"1.{name}", StudyDescription="late", PatientName="Roe^Jane")
    assert counts(index(archive)) == {"seen": 4, "read": 1, "indexed": 1, "unchanged": 3}
    assert rows(archive, "SELECT StudyDescription, PatientName FROM images WHERE SOPInstanceUID = '1.1'") == said


def test_a_series_that_is_corrected_in_two_runs_is_all_new(archive: Workplace, instance: Instance) -> None:
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


def test_a_file_that_is_no_longer_dicom_is_removed(archive: Workplace) -> None:
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


def test_an_unreadable_file_is_read_again_although_it_did_not_change(archive: Workplace) -> None:
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
    """Index without the command line. Return the reasons."""
    with Store(workplace.folder / "conquest.db", schema(parse(standard_text()))) as store:
        scan = Scan(store, emit)
        scan.run([Tree("archive", workplace.folder / "data", ("**/.*",))], here)
    return scan.tally.reasons


# Files and instances that are removed


def test_vanished_files_are_removed_with_empty_levels(archive: Workplace) -> None:
    index(archive)
    shutil.rmtree(archive.folder / "data/other")
    assert counts(index(archive)) == {"seen": 3, "unchanged": 3, "vanished": 1}
    assert sizes(archive) == [1, 1, 2, 3]
    assert rows(archive, "SELECT PatientID FROM DICOMPatients") == [("P1",)]


def test_the_modalities_of_a_study_are_updated_when_it_loses_a_series(archive: Workplace) -> None:
    index(archive)
    assert ("MR\\CT",) in rows(archive, "SELECT StudyModal FROM DICOMStudies")
    (archive.folder / "data/mr/3.dcm").unlink()
    index(archive)
    assert rows(archive, "SELECT StudyModal FROM DICOMStudies") == [("CT",), ("CT",)]


def test_all_rows_of_an_instance_are_removed_with_it(archive: Workplace, instance: Instance) -> None:
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


def test_a_second_patient_of_a_study_is_removed_too(archive: Workplace, instance: Instance) -> None:
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


def test_a_series_that_moves_to_another_study_in_two_runs(archive: Workplace, instance: Instance) -> None:
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


def test_a_file_that_is_excluded_later_is_removed(archive: Workplace) -> None:
    index(archive)
    archive.rules(RULES.replace('"**/.*"', '"**/.*", "other"'))
    assert counts(index(archive)) == {"seen": 4, "unchanged": 3, "skipped": 1}
    assert sizes(archive) == [1, 1, 2, 3]


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
