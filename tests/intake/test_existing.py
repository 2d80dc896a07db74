"""The inbox receives an instance that the index already has."""

import shutil
import sqlite3
from collections.abc import Callable

import pytest

from pyconquest_rules.index.store.store import Store
from pyconquest_rules.network.part10 import file_meta_information
from pyconquest_rules.network.statuses import Status
from pyconquest_rules.network.syntaxes import EXPLICIT, IMPLICIT
from tests.conftest import Workplace
from tests.intake.inboxes import OLDER, RULES, kept, put, receiving
from tests.network.raw import CT, data_set, element


def gone(archive: Workplace) -> None:
    (archive.folder / "archive/P1/1.2.9.dcm").unlink()


def moved(archive: Workplace) -> None:
    (archive.folder / "archive/P1").rename(archive.folder / "elsewhere")


def folder_instead(archive: Workplace) -> None:
    shutil.rmtree(archive.folder / "archive/P1")
    (archive.folder / "archive/P1/1.2.9.dcm").mkdir(parents=True)


def file_instead_of_its_folder(archive: Workplace) -> None:
    shutil.rmtree(archive.folder / "archive/P1")
    (archive.folder / "archive/P1").write_bytes(b"")


def everything_gone(archive: Workplace) -> None:
    shutil.rmtree(archive.folder / "archive")


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (gone, Status.SUCCESS),
        (moved, Status.SUCCESS),
        (everything_gone, Status.SUCCESS),
        (folder_instead, Status.PROCESSING_FAILURE),
        (file_instead_of_its_folder, Status.PROCESSING_FAILURE),
    ],
)
def test_stores_an_instance_again_if_its_file_is_gone(how: Callable[[Workplace], None], status: int, archive: Workplace) -> None:
    data = data_set("1.2.9")
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.9", data)[0] == 0
        how(archive)
        try:
            assert put(inbox, "1.2.9", data)[0] == status
        except OSError:  # the listener answers it with 0110
            assert status == Status.PROCESSING_FAILURE
        if status == 0:
            assert put(inbox, "1.2.9", data) == (0, "", True)
    if status == 0:
        assert kept(archive.folder / "archive/P1/1.2.9.dcm") == data
        assert archive.run("index", "--json").summary["unchanged"] == 1


def test_stores_an_instance_whose_file_is_gone_at_its_new_path(archive: Workplace) -> None:
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.9", data_set("1.2.9"))[0] == 0
        gone(archive)
        status, note, _ = put(inbox, "1.2.9", data_set("1.2.9", patient="P2"))
        assert (status, note) == (0, "its indexed file no longer exists")
    assert archive.files("archive").keys() == {"P2/1.2.9.dcm"}
    assert archive.run("index", "--json").summary["unchanged"] == 1


@pytest.mark.parametrize("damage", [b"", b"notes", "cut", "another instance"])
def test_a_changed_file_is_not_a_duplicate(damage: bytes | str, archive: Workplace) -> None:
    place, data = archive.folder / "archive/P1/1.2.9.dcm", data_set("1.2.9", pixels=bytes(100))
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.9", data)[0] == 0
        if isinstance(damage, bytes):
            place.write_bytes(damage)
        elif damage == "cut":
            place.write_bytes(place.read_bytes()[:-50])
        else:
            place.write_bytes(file_meta_information(CT, "1.2.10", EXPLICIT, "OTHER") + data_set("1.2.10"))
        there = place.read_bytes()
        status, said, _ = put(inbox, "1.2.9", data)
        if damage == "another instance":
            assert (status, "another file has the path" in said) == (Status.PROCESSING_FAILURE, True)
            assert place.read_bytes() == there
            status, said, _ = put(inbox, "1.2.9", data_set("1.2.9", patient="P2"))
            assert (status, said) == (0, "its indexed file no longer exists")
            assert place.read_bytes() == there
        else:
            assert (status, said) == (0, f"replaces a file that cannot be read, which is kept as {OLDER}1.dcm")
            assert kept(place) == data
            assert (archive.folder / "archive" / OLDER / "1.dcm").read_bytes() == there


@pytest.mark.parametrize("layout", ["x.dcm", "{{ PatientID }}.dcm", "{{ PatientID }}/{{ InstanceNumber }}", "{{ Modality }}/1"])
def test_refuses_a_second_instance_with_the_same_path(layout: str, archive: Workplace) -> None:
    archive.rules(RULES.replace("{{ PatientID }}/{{ SOPInstanceUID }}.dcm", layout))
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.9", data_set("1.2.9"))[0] == 0
        before = archive.files("archive")
        status, reason, _ = put(inbox, "1.2.10", data_set("1.2.10"))
        assert status == Status.PROCESSING_FAILURE
        assert "another file has the path of its layout" in reason
        assert put(inbox, "1.2.9", data_set("1.2.9")) == (0, "", True)
    assert archive.files("archive").keys() == before.keys()


def test_never_replaces_another_file_at_the_path(archive: Workplace) -> None:
    place = archive.folder / "archive/P1/1.2.9.dcm"
    place.parent.mkdir()
    place.write_bytes(b"notes")
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.9", data_set("1.2.9"))[0] == Status.PROCESSING_FAILURE
    assert place.read_bytes() == b"notes"


PREAMBLE = bytes(128) + b"DICM"


HEADS = {
    "none, explicit": ("explicit", b""),
    "none, implicit": ("implicit", b""),
    "a preamble without meta information": ("explicit", PREAMBLE),
    "meta information without preamble": ("explicit", element(0x00020010, "UI", EXPLICIT)),
    "no group length": ("implicit", PREAMBLE + element(0x00020002, "UI", CT) + element(0x00020010, "UI", IMPLICIT)),
    "one of another program": ("explicit", file_meta_information(CT, "1.2.9", EXPLICIT, "OTHER")),
}


@pytest.mark.parametrize("head", HEADS)
def test_ignores_the_file_meta_information_when_it_compares(head: str, archive: Workplace) -> None:
    how, before = HEADS[head]
    archive.rules(RULES + '[sources.other]\npath = "other"\n')
    (archive.folder / "other").mkdir()
    (archive.folder / "other/1").write_bytes(before + data_set("1.2.9", how))
    assert archive.run("index", "--json").summary["indexed"] == 1
    with receiving(archive, newest=True) as inbox:
        assert put(inbox, "1.2.9", data_set("1.2.9", how), IMPLICIT if how == "implicit" else EXPLICIT) == (0, "", True)
        status, reason, _ = put(inbox, "1.2.9", data_set("1.2.9", text="other"))
        assert (status, reason) == (0x0111, "another data set of this instance exists in another source")
    assert archive.files("archive") == {}


def test_keeps_the_first_data_set_or_the_newest(archive: Workplace) -> None:
    first, second, third = (data_set("1.2.9", text=text) for text in ("first", "second", "third"))
    place, older = archive.folder / "archive/P1/1.2.9.dcm", archive.folder / "archive/.pyconquest-rules-older/1.2.9"
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.9", first)[0] == 0
        assert put(inbox, "1.2.9", second)[0] == Status.DUPLICATE_SOP_INSTANCE
    assert kept(place) == first
    with receiving(archive, newest=True) as inbox:
        assert put(inbox, "1.2.9", first) == (0, "", True)
        for number, data in enumerate((second, third), start=1):
            status, note, _ = put(inbox, "1.2.9", data)
            assert (status, number, note) == (
                0,
                number,
                f"replaces an older data set, which is kept as {OLDER}{number}.dcm",
            )
            assert kept(place) == data
        assert put(inbox, "1.2.9", second)[0] == 0  # the newest by arrival, not by content
        assert put(inbox, "1.2.9", third)[0] == 0  # an older data set is kept only once
    assert {file.name: kept(file) for file in older.iterdir()} == {"1.dcm": first, "2.dcm": second, "3.dcm": third}
    assert archive.run("query", "--format", "csv", "select StudyDescription from studies").out.split()[1:]
    index = archive.run("index", "--json").summary
    assert (index["unchanged"], index["read"]) == (1, 0)
    (archive.folder / "conquest.db").unlink()
    assert archive.run("index", "--json").summary["indexed"] == 1


def test_a_corrected_patient_id_moves_the_instance(archive: Workplace) -> None:
    with receiving(archive, newest=True) as inbox:
        assert put(inbox, "1.2.9", data_set("1.2.9"))[0] == 0
        assert put(inbox, "1.2.9", data_set("1.2.9", patient="P2"))[0] == 0
        assert put(inbox, "1.2.10", data_set("1.2.10", patient="P2"))[0] == 0
    assert {path for path in archive.files("archive") if not path.startswith(".")} == {"P2/1.2.9.dcm", "P2/1.2.10.dcm"}
    assert archive.run("query", "--format", "csv", "select PatientID from patients").out.split() == ["PatientID", "P2"]
    assert archive.run("index", "--json").summary["unchanged"] == 2


def test_indexes_a_newer_data_set_that_arrives_again_after_a_failed_write(archive: Workplace) -> None:
    newer = data_set("1.2.9", patient="P1", text="newer")
    with receiving(archive, newest=True) as inbox:
        assert put(inbox, "1.2.9", data_set("1.2.9"))[0] == 0
        with pytest.MonkeyPatch.context() as failing:
            failing.setattr(Store, "add", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("database is locked")))
            with pytest.raises(OSError, match="the index cannot be written"):
                put(inbox, "1.2.9", newer)
        assert put(inbox, "1.2.9", newer)[0] == 0
    assert archive.run("index", "--json").summary["unchanged"] == 1
