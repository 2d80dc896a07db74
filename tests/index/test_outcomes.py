"""The outcome of each file: the report, the counts, and several files of one instance."""

import base64
import json
import os
import shutil

import pytest

from tests.conftest import Instance, Workplace
from tests.index.indexing import RULES, counts, index, report, rows


def test_every_file_is_reported_once_with_its_outcome_and_reason(archive: Workplace, instance: Instance) -> None:
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


def test_the_report_has_absolute_paths(archive: Workplace) -> None:
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
def test_exit_code_1_only_if_dicom_was_rejected(archive: Workplace, broken: str | None, code: int) -> None:
    file = archive.folder / "data/broken.dcm"
    file.write_bytes(broken.encode() if broken else (archive.folder / "data/ct/1.dcm").read_bytes()[:300])
    assert index(archive).code == code


def test_the_reasons_are_counted(archive: Workplace) -> None:
    (archive.folder / "data/notes.txt").write_text("no DICOM")
    (archive.folder / "data/.hidden").touch()
    assert index(archive).summary["reasons"] == {"not-dicom": 1, "excluded": 1}


@pytest.fixture
def twins(workplace: Workplace, instance: Instance) -> Workplace:
    """The same bytes at two paths, and other bytes with the same SOPInstanceUID at a third."""
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
