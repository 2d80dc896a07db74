"""The inbox: an instance is durable before the answer, with as few syncs as possible."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path

import pydicom
import pytest

from pyconquest_rules import app
from pyconquest_rules.disk import placing
from pyconquest_rules.index.store.store import Store
from pyconquest_rules.intake.inbox import Inbox, Received
from pyconquest_rules.network.part10 import file_meta_information
from pyconquest_rules.network.statuses import Status
from tests.conftest import Workplace, needs
from tests.execute.power import Disk
from tests.peers.storage_scu import CT, EXPLICIT, element, small

RULES = """
[sources.archive]
path = "archive"
layout = "{{ PatientID }}/{{ StudyDescription }}/{{ SOPInstanceUID }}.dcm"
"""


@pytest.fixture
def archive(workplace: Workplace) -> Workplace:
    (workplace.folder / "archive").mkdir()
    return workplace.rules(RULES)


@contextmanager
def receiving(archive: Workplace, told: Callable[[Received], None] = lambda _: None) -> Iterator[Inbox]:
    rules = app.Rules.load(archive.folder / "rules.toml")
    root = archive.folder / "archive"
    with Inbox("archive", root, rules.layouts["archive"], rules.database, rules.schema, told) as inbox:
        yield inbox


def data(uid: str, patient: str = "P1", study: str = "S1") -> bytes:
    """Return a small data set of a patient."""
    texts = {(0x0008, 0x1030): study, (0x0010, 0x0020): patient}
    return small(uid) + b"".join(
        group.to_bytes(2, "little") + element(number, text)[2:4] + b"LO" + element(number, text)[6:]
        for (group, number), text in texts.items()
    )


def put(inbox: Inbox, uid: str, patient: str = "P1", study: str = "S1") -> int:
    """Receive an instance. Return the status."""
    about = CT, uid, EXPLICIT, "CLINIC"
    with inbox.part(*about) as part:
        part.write(file_meta_information(*about))
        part.write(data(uid, patient, study))
        return part.finish()


@pytest.fixture
def disk(archive: Workplace, monkeypatch: pytest.MonkeyPatch) -> Disk:
    needs("/proc/self/fd", os.path.isdir("/proc/self/fd"))
    return Disk(archive.folder / "archive", monkeypatch)


def test_bytes_are_durable_before_the_name_and_the_name_before_the_answer(
    archive: Workplace, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, told = os.link, []

    def checked(part: Path, *given: object, **named: object) -> None:
        assert disk.files[part.stat().st_ino] == part.read_bytes()
        link(part, *given, **named)  # type: ignore[arg-type]

    def received(one: Received) -> None:
        (path,) = (archive.folder / "archive").glob(f"P*/*/{one.SOPInstanceUID}.dcm")
        assert disk.holds(str(path.relative_to(archive.folder / "archive")))
        told.append(one.SOPInstanceUID)

    monkeypatch.setattr(os, "link", checked)
    monkeypatch.setattr(placing, "SETTLED", 2)  # fewer than there are folders
    with receiving(archive, received) as inbox:
        for number in range(9):
            assert put(inbox, f"1.2.{number}", f"P{number % 3}", f"S{number % 2}") == Status.SUCCESS
    assert len(told) == 9


def test_two_syncs_for_each_instance(archive: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        waits.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    with receiving(archive) as inbox:
        put(inbox, "1.2.1")
        assert len(waits) == 2 + 2  # the folders above it, once
        waits.clear()
        for number in range(2, 12):
            put(inbox, f"1.2.{number}")
        assert len(waits) == 20


def test_a_recreated_folder_is_synced_again(archive: Workplace, disk: Disk) -> None:
    with receiving(archive) as inbox:
        for number in range(3):
            assert put(inbox, f"1.2.{number}") == Status.SUCCESS
            assert disk.holds(f"P1/S1/1.2.{number}.dcm")
            shutil.rmtree(archive.folder / "archive" / "P1")
            disk.folders.clear()


def test_one_of_two_simultaneous_instances_with_one_uid_is_stored(archive: Workplace) -> None:
    with receiving(archive) as inbox, ThreadPoolExecutor(2) as threads:
        for number in range(10):
            statuses = {*threads.map(put, [inbox] * 2, [f"1.2.{number}"] * 2, ["P1", "P2"])}
            assert statuses == {Status.SUCCESS, Status.DUPLICATE_SOP_INSTANCE}
    assert len(archive.files("archive")) == 10
    assert archive.run("index", "--json").summary["unchanged"] == 10


def test_an_instance_that_cannot_be_indexed_fails_and_can_be_sent_again(
    archive: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    with receiving(archive) as inbox:
        with monkeypatch.context() as failing:
            failing.setattr(Store, "add", busy)
            with pytest.raises(OSError, match="the index cannot be written"):
                put(inbox, "1.2.3")
        assert put(inbox, "1.2.3") == Status.SUCCESS
    assert archive.run("index", "--json").summary["unchanged"] == 1


@pytest.mark.parametrize("order", [*permutations(("rtss", "rtplan", "rtdose"))], ids="-".join)
def test_the_index_of_a_listener_equals_the_index_of_its_files(order: tuple[str, ...], archive: Workplace, shared: Path) -> None:
    archive.rules(RULES.replace("{{ PatientID }}/{{ StudyDescription }}/", ""))
    chain = shared / "corpus" / "dicompyler-core-rtchain" / "example_data"
    query = 'select "SeriesInst", "Modality", "Referenced" from DICOMSeries order by 1'
    with receiving(archive) as inbox:
        for name in order:
            file = (chain / f"{name}.dcm").read_bytes()
            known = pydicom.dcmread(chain / f"{name}.dcm", stop_before_pixels=True)
            about = known.SOPClassUID, known.SOPInstanceUID, known.file_meta.TransferSyntaxUID, "CLINIC"
            with inbox.part(*map(str, about)) as part:
                part.write(file)
                assert part.finish() == Status.SUCCESS
    received = archive.run("query", query, "--json").lines
    (archive.folder / "conquest.db").unlink()
    archive.run("index")
    assert received == archive.run("query", query, "--json").lines
    assert sum(bool(line["values"]["Referenced"]) for line in received[:-1]) == 3
