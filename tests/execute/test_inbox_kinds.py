"""The inbox with what real peers send and real disks do: wrong encodings, files that are gone, folders without hard links."""

import errno
import os
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pydicom
import pytest

from pyconquest_rules import app
from pyconquest_rules.disk import placing
from pyconquest_rules.index.store.store import Store
from pyconquest_rules.intake.inbox import Inbox
from pyconquest_rules.network.part10 import data_set_offset, file_meta_information
from pyconquest_rules.network.statuses import Status
from pyconquest_rules.network.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, GE_PRIVATE, IMPLICIT
from tests.conftest import Workplace
from tests.network.raw import CT, data_set, element

JPEG, RLE, PRIVATE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5", "1.2.3.4.5"
RULES = """
[sources.archive]
path = "archive"
layout = "{{ PatientID }}/{{ SOPInstanceUID }}.dcm"
"""


@pytest.fixture
def archive(workplace: Workplace) -> Workplace:
    (workplace.folder / "archive").mkdir()
    return workplace.rules(RULES)


@contextmanager
def receiving(archive: Workplace, *, newest: bool = False) -> Iterator[Inbox]:
    rules = app.Rules.load(archive.folder / "rules.toml")
    where = archive.folder / "archive", rules.layouts["archive"], rules.database, rules.schema
    with Inbox("archive", *where, lambda _: None, newest=newest, order=rules.order) as inbox:
        yield inbox


def put(inbox: Inbox, uid: str, data: bytes, syntax: str = EXPLICIT) -> tuple[int, str, bool]:
    """Receive an instance: the status, the reason or the note, whether it was there."""
    about = CT, uid, syntax, "CLINIC"
    with inbox.part(*about) as part:
        part.write(file_meta_information(*about))
        part.write(data)
        status = part.finish()
        return status, part.reason or part.note, part.duplicate


def kept(file: Path) -> bytes:
    with file.open("rb") as opened:
        return file.read_bytes()[data_set_offset(opened.fileno()) :]


# How a data set is encoded.


@pytest.mark.parametrize(
    ("agreed", "how", "encapsulated", "real"),
    [
        (EXPLICIT, "explicit", False, EXPLICIT),
        (EXPLICIT, "implicit", False, IMPLICIT),
        (EXPLICIT, "big", False, BIG_ENDIAN),
        (IMPLICIT, "explicit", False, EXPLICIT),
        (IMPLICIT, "big", False, BIG_ENDIAN),
        (BIG_ENDIAN, "explicit", False, EXPLICIT),
        (BIG_ENDIAN, "implicit", False, IMPLICIT),
        (JPEG, "explicit", True, JPEG),
        (JPEG, "explicit", False, EXPLICIT),
        (RLE, "implicit", False, IMPLICIT),
        (JPEG, "big", False, BIG_ENDIAN),
        (PRIVATE, "explicit", False, PRIVATE),
        (PRIVATE, "explicit", True, PRIVATE),
        (GE_PRIVATE, "implicit", False, GE_PRIVATE),
        (DEFLATED, "deflated", False, DEFLATED),
        (EXPLICIT, "explicit", True, None),
        (IMPLICIT, "implicit", True, None),
        (JPEG, "implicit", True, None),
        (PRIVATE, "implicit", False, None),
        (PRIVATE, "big", False, None),
        (EXPLICIT, "deflated", False, None),
        (DEFLATED, "explicit", False, None),
    ],
)
def test_a_file_says_how_its_data_set_is_encoded(
    agreed: str, how: str, encapsulated: bool, real: str | None, archive: Workplace
) -> None:
    data = data_set("1.2.9", how, encapsulated=encapsulated)
    with receiving(archive) as inbox:
        status, said, _ = put(inbox, "1.2.9", data, agreed)
    if real is None:
        assert status == Status.CANNOT_UNDERSTAND
        assert said
        assert archive.files("archive") == {}
        return
    file = archive.folder / "archive/P1/1.2.9.dcm"
    assert status == 0
    assert kept(file) == data
    meta = pydicom.dcmread(file, stop_before_pixels=True).file_meta
    assert meta.TransferSyntaxUID == real
    assert (real in said) == (real != agreed)
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection:
        assert connection.execute("SELECT TransferSyntaxUID FROM rules_files").fetchall() == [(real,)]
    assert archive.run("index", "--json").summary["unchanged"] == 1


def test_large_headers_and_nested_pixel_data_do_not_deceive(archive: Workplace) -> None:
    icon = struct.pack("<HHI", 0xFFFE, 0xE000, 20) + element(0x7FE00010, "OW", b"12345678")
    before = data_set("1.2.9", pixels=None)
    with receiving(archive) as inbox:
        long = before + element(0x00291010, "OB", bytes(100_000)) + element(0x7FE00010, "OW", bytes(64))
        assert put(inbox, "1.2.9", long, JPEG)[1].startswith(f"kept as {EXPLICIT}")
        nested = data_set("1.2.10", pixels=None) + element(0x00880200, "SQ", icon)
        compressed = nested + data_set("1.2.10", encapsulated=True)[len(data_set("1.2.10", pixels=None)) :]
        assert put(inbox, "1.2.10", compressed, JPEG) == (0, "", False)
        assert put(inbox, "1.2.10", compressed, EXPLICIT)[0] == Status.CANNOT_UNDERSTAND


def test_file_meta_information_in_a_data_set_is_left_out(archive: Workplace) -> None:
    data = data_set("1.2.9")
    inside = element(0x00020002, "UI", CT) + element(0x00020010, "UI", EXPLICIT)
    with receiving(archive) as inbox:
        status, note, _ = put(inbox, "1.2.9", inside + data)
        assert (status, note) == (0, "the file meta information in its data set was left out")
        assert put(inbox, "1.2.9", data) == (0, "", True)
    assert kept(archive.folder / "archive/P1/1.2.9.dcm") == data


# What is there, and is the same.


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
def test_a_file_that_vanished_is_taken_again(how: Callable[[Workplace], None], status: int, archive: Workplace) -> None:
    data = data_set("1.2.9")
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.9", data)[0] == 0
        how(archive)
        try:
            assert put(inbox, "1.2.9", data)[0] == status
        except OSError:  # which is answered with 0110
            assert status == Status.PROCESSING_FAILURE
        if status == 0:
            assert put(inbox, "1.2.9", data) == (0, "", True)
    if status == 0:
        assert kept(archive.folder / "archive/P1/1.2.9.dcm") == data
        assert archive.run("index", "--json").summary["unchanged"] == 1


def test_a_vanished_instance_comes_to_its_new_place(archive: Workplace) -> None:
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.9", data_set("1.2.9"))[0] == 0
        gone(archive)
        status, note, _ = put(inbox, "1.2.9", data_set("1.2.9", patient="P2"))
        assert (status, note) == (0, "the file that the index had of it is gone")
    assert archive.files("archive").keys() == {"P2/1.2.9.dcm"}
    assert archive.run("index", "--json").summary["unchanged"] == 1


@pytest.mark.parametrize("damage", [b"", b"notes", "cut", "another instance"])
def test_a_file_that_is_not_this_instance_any_more_is_no_duplicate(damage: bytes | str, archive: Workplace) -> None:
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
            assert (status, said) == (0, "the file that the index had of it is gone")
            assert place.read_bytes() == there
        else:
            assert (status, said) == (0, f"takes the place of a file that cannot be read, which is kept as {NOTE}1.dcm")
            assert kept(place) == data
            assert (archive.folder / "archive" / NOTE / "1.dcm").read_bytes() == there


@pytest.mark.parametrize("layout", ["x.dcm", "{{ PatientID }}.dcm", "{{ PatientID }}/{{ InstanceNumber }}", "{{ Modality }}/1"])
def test_two_instances_of_one_path(layout: str, archive: Workplace) -> None:
    archive.rules(RULES.replace("{{ PatientID }}/{{ SOPInstanceUID }}.dcm", layout))
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.9", data_set("1.2.9"))[0] == 0
        before = archive.files("archive")
        status, reason, _ = put(inbox, "1.2.10", data_set("1.2.10"))
        assert status == Status.PROCESSING_FAILURE
        assert "another file has the path that the layout gives it" in reason
        assert put(inbox, "1.2.9", data_set("1.2.9")) == (0, "", True)
    assert archive.files("archive").keys() == before.keys()


def test_something_else_at_the_path_stays(archive: Workplace) -> None:
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
def test_the_same_data_set_behind_any_head_is_the_same(head: str, archive: Workplace) -> None:
    how, before = HEADS[head]
    archive.rules(RULES + '[sources.other]\npath = "other"\n')
    (archive.folder / "other").mkdir()
    (archive.folder / "other/1").write_bytes(before + data_set("1.2.9", how))
    assert archive.run("index", "--json").summary["indexed"] == 1
    with receiving(archive, newest=True) as inbox:
        assert put(inbox, "1.2.9", data_set("1.2.9", how), IMPLICIT if how == "implicit" else EXPLICIT) == (0, "", True)
        status, reason, _ = put(inbox, "1.2.9", data_set("1.2.9", text="other"))
        assert (status, reason) == (0x0111, "another data set of this instance is there, in another source")
    assert archive.files("archive") == {}


# Corrected instances that come again.


def test_the_first_stays_or_the_newest_takes_its_place(archive: Workplace) -> None:
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
                f"takes the place of an older data set, which is kept as {NOTE}{number}.dcm",
            )
            assert kept(place) == data
        assert put(inbox, "1.2.9", second)[0] == 0  # by when it comes, not by what it holds
        assert put(inbox, "1.2.9", third)[0] == 0  # what is kept once is not kept again
    assert {file.name: kept(file) for file in older.iterdir()} == {"1.dcm": first, "2.dcm": second, "3.dcm": third}
    assert archive.run("query", "--format", "csv", "select StudyDescription from studies").out.split()[1:]
    index = archive.run("index", "--json").summary
    assert (index["unchanged"], index["read"]) == (1, 0)
    (archive.folder / "conquest.db").unlink()
    assert archive.run("index", "--json").summary["indexed"] == 1


NOTE = ".pyconquest-rules-older/1.2.9/"


def test_a_corrected_patient_moves_the_instance(archive: Workplace) -> None:
    with receiving(archive, newest=True) as inbox:
        assert put(inbox, "1.2.9", data_set("1.2.9"))[0] == 0
        assert put(inbox, "1.2.9", data_set("1.2.9", patient="P2"))[0] == 0
        assert put(inbox, "1.2.10", data_set("1.2.10", patient="P2"))[0] == 0
    assert {path for path in archive.files("archive") if not path.startswith(".")} == {"P2/1.2.9.dcm", "P2/1.2.10.dcm"}
    assert archive.run("query", "--format", "csv", "select PatientID from patients").out.split() == ["PatientID", "P2"]
    assert archive.run("index", "--json").summary["unchanged"] == 2


def test_a_newer_one_whose_row_a_kill_took_is_indexed_when_it_comes_again(archive: Workplace) -> None:
    newer = data_set("1.2.9", patient="P1", text="newer")
    with receiving(archive, newest=True) as inbox:
        assert put(inbox, "1.2.9", data_set("1.2.9"))[0] == 0
        with pytest.MonkeyPatch.context() as failing:
            failing.setattr(Store, "add", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("database is locked")))
            with pytest.raises(OSError, match="the index cannot be written"):
                put(inbox, "1.2.9", newer)
        assert put(inbox, "1.2.9", newer)[0] == 0
    assert archive.run("index", "--json").summary["unchanged"] == 1


# Disks.


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
@pytest.mark.parametrize("renames", [True, False])
def test_without_hard_links_nothing_is_replaced_either(
    code: int, renames: bool, archive: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_links)
    if not renames:
        monkeypatch.setattr(placing, "_renamed", lambda *_: False)
    first, second = data_set("1.2.9"), data_set("1.2.9", text="second")
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.9", first)[0] == 0
        assert put(inbox, "1.2.9", first) == (0, "", True)
        assert put(inbox, "1.2.9", second)[0] == Status.DUPLICATE_SOP_INSTANCE
        (archive.folder / "archive/P1/1.2.10.dcm").write_bytes(b"notes")
        assert put(inbox, "1.2.10", data_set("1.2.10"))[0] == Status.PROCESSING_FAILURE
        (archive.folder / "archive/P1/1.2.11.dcm").touch()  # by a kill, in the last of the three ways
        assert (put(inbox, "1.2.11", data_set("1.2.11"))[0] == 0) != renames
    assert (archive.folder / "archive/P1/1.2.10.dcm").read_bytes() == b"notes"
    assert kept(archive.folder / "archive/P1/1.2.9.dcm") == first
    with receiving(archive, newest=True) as inbox:
        assert put(inbox, "1.2.9", second)[0] == 0
    assert kept(archive.folder / "archive" / NOTE / "1.dcm") == first
    assert [path for path in os.listdir(archive.folder / "archive") if "incoming" in path] == []


@pytest.mark.parametrize("what", [".pyconquest-rules-incoming", "P1", "", "P1 and the rest", "nothing"])
def test_folders_that_somebody_removes_are_made_anew(what: str, archive: Workplace) -> None:
    root = archive.folder / "archive"
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.8", data_set("1.2.8"))[0] == 0
        for name in os.listdir(root) if " and " in what else [what] if what != "nothing" else []:
            shutil.rmtree(root / name)
        for number in range(9, 14):
            assert put(inbox, f"1.2.{number}", data_set(f"1.2.{number}"))[0] == 0
    assert len([path for path in archive.files("archive") if path.endswith(".dcm")]) >= 5
    assert not (root / ".pyconquest-rules-incoming").exists()


def test_a_full_index_has_no_room(archive: Workplace) -> None:
    with receiving(archive) as inbox:
        assert put(inbox, "1.2.8", data_set("1.2.8"))[0] == 0
        connection = inbox.indexer._store.connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

        def put_another(number: int) -> int:
            return put(inbox, f"1.3.{number}", data_set(f"1.3.{number}", patient=f"P{number}", series=f"1.4.{number}"))[0]

        number, error = 0, None
        while error is None:
            number += 1
            try:
                put_another(number)
            except OSError as raised:
                error = raised
        assert (error.errno, error.strerror) == (errno.ENOSPC, "no space is left for the index")
        connection.execute("PRAGMA max_page_count = 100000")
        assert put_another(number) == 0
    summary = archive.run("index", "--json").summary
    assert (summary["read"], summary["unchanged"]) == (0, number + 1)


# How the slices of a series lie.


def measured(archive: Workplace) -> list[tuple[int, float]]:
    """What a reader sees."""
    rules = app.Rules.load(archive.folder / "rules.toml")
    with app.opened(rules) as sets:
        query = "SELECT NumberOfSlices, ScanRange FROM series ORDER BY SeriesInstanceUID"
        return [tuple(row) for row in sets.connection.execute(query)]


def stale(archive: Workplace) -> int:
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection:
        (number,) = connection.execute("SELECT count(*) FROM rules_stale WHERE level = 'geometry'").fetchone()
        return int(number)


def test_readers_see_series_measured_while_they_grow(archive: Workplace) -> None:
    with receiving(archive) as inbox:
        for number in range(1, 6):
            assert put(inbox, f"1.2.{number}", data_set(f"1.2.{number}", number=number))[0] == 0
            assert stale(archive) == 1
            assert measured(archive) == [(number, number - 1.0)]
            assert stale(archive) == 0


def test_many_series_are_measured_at_the_end_and_by_index_after_a_kill(archive: Workplace) -> None:
    with receiving(archive) as inbox:
        for number in range(1, 41):
            put(inbox, f"1.2.{number}", data_set(f"1.2.{number}", number=number, series=f"1.3.{number // 2}"))
        assert stale(archive) == 21
    assert stale(archive) == 0
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection, connection:
        connection.execute("INSERT INTO rules_stale VALUES ('geometry', '1.3.1')")
        connection.execute("UPDATE geometry SET NumberOfSlices = 77 WHERE SeriesInstanceUID = '1.3.1'")
    assert archive.run("index").code == 0
    assert stale(archive) == 0
    assert sorted(measured(archive)) == [(1, 0.0)] * 2 + [(2, 1.0)] * 19


def test_what_an_instance_costs_does_not_depend_on_its_series(archive: Workplace) -> None:
    with receiving(archive) as inbox:
        steps: list[int] = []
        with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection, connection:
            rows = ((f"1.9.{number}", "1.2.3.1", number, "") for number in range(20_000))
            connection.executemany("INSERT INTO rules_slices VALUES (?, ?, ?, ?)", rows)
        for series in ("1.2.3.9", "1.2.3.1"):
            put(inbox, f"{series}.1", data_set(f"{series}.1", series=series))
            counted = [0]

            def count(counted: list[int] = counted) -> int:
                counted[0] += 1
                return 0

            inbox.indexer._store.connection.set_progress_handler(count, 10)
            put(inbox, f"{series}.2", data_set(f"{series}.2", series=series))
            inbox.indexer._store.connection.set_progress_handler(None, 0)
            steps.append(counted[0])
    assert steps[1] < 2 * steps[0] + 10


# What the decisions forget.

FORGOTTEN = "its patient, study, series or the instance itself is forgotten (decisions.txt)"


@pytest.mark.parametrize(
    ("line", "patient", "series", "out"),
    [
        ("forget patient P1", "P1", "1.2.3.1", True),
        ("forget patient P1", " P1", "1.2.3.1", True),
        ("forget patient P1", "P11", "1.2.3.1", False),
        ("forget study 1.2.3", "P2", "1.2.3.1", True),
        ("forget series 1.2.3.1", "P2", "1.2.3.1", True),
        ("forget series 1.2.3.1", "P2", "1.2.3.2", False),
        ("forget image 1.2.9", "P2", "1.2.3.2", True),
        ("forget image 1.2.9.1", "P2", "1.2.3.2", False),
    ],
)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_is_forgotten_is_refused(archive: Workplace, line: str, patient: str, series: str, out: bool, when: str) -> None:
    archive.run("index")
    file = archive.folder / ".pyconquest-rules/decisions.txt"
    text = file.read_text()
    if when == "before":
        file.write_text(f"{text}{line}\n")
    with receiving(archive) as inbox:
        file.write_text(f"{text}{line}\n")
        status, reason, _ = put(inbox, "1.2.9", data_set("1.2.9", patient=patient, series=series))
        assert (status, reason) == ((Status.NOT_AUTHORIZED, FORGOTTEN) if out else (Status.SUCCESS, ""))
        assert len(archive.files("archive")) == (not out)
        file.write_text(text)
        assert put(inbox, "1.2.9", data_set("1.2.9", patient=patient, series=series))[0] == Status.SUCCESS
    assert len(archive.files("archive")) == 1


def test_nothing_is_kept_while_the_decisions_cannot_be_read(archive: Workplace) -> None:
    archive.run("index")
    file = archive.folder / ".pyconquest-rules/decisions.txt"
    text = file.read_text()
    with receiving(archive) as inbox:
        file.write_text("forget nobody\n")
        with pytest.raises(OSError, match="decisions"):
            put(inbox, "1.2.9", data_set("1.2.9"))
        assert archive.files("archive") == {}
        file.write_text(text)
        assert put(inbox, "1.2.9", data_set("1.2.9"))[0] == Status.SUCCESS


@pytest.mark.parametrize("numbers", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2), (2, 1, 3)])
def test_the_index_is_the_same_in_whatever_order_instances_came(archive: Workplace, numbers: tuple[int, ...]) -> None:
    with receiving(archive) as inbox:
        for number in numbers:
            put(inbox, f"1.2.9.{number}", data_set(f"1.2.9.{number}", number=number, text=f"text {number}"))
    query = "select StudyDescription from studies"
    assert archive.run("query", query, "--json").lines[0]["values"] == {"StudyDescription": "text 1"}
    with receiving(archive, newest=True) as inbox:
        put(inbox, "1.2.9.1", data_set("1.2.9.1", number=1, patient="P0", text="corrected"))
        put(inbox, "1.2.9.2", data_set("1.2.9.2", number=2, patient="P3", text="corrected too"))
    assert archive.run("index").code == 0
    grown = archive.run("query", query, "--json").out
    for file in archive.folder.glob("conquest.db*"):
        file.unlink()
    archive.run("index")
    assert archive.run("query", query, "--json").out == grown
    assert 'corrected"' in grown
