"""A `state.db` of version 0.1 is carried over: a run of today knows all that was done, failed, and was found changed.

`tests/data/state_0_1` was made by version 0.1: four files copied (one of them stood there before, one is young, of one `verify
--repair` found other bytes), two instances sent, two not, two retrieved, one not. `{BASE}` stands for the folder, in hexadecimal.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from pyconquest_rules.engine.state import FORMAT
from tests.conftest import Workplace

MADE = Path(__file__).parents[1] / "data/state_0_1"
MTIME = 1_700_000_000_123_456_789


@pytest.fixture
def earlier(workplace: Workplace) -> Workplace:
    """The folder as version 0.1 left it."""
    workplace.rules((MADE / "rules.toml").read_text("utf-8"))
    for folder in ("data", "export", ".pyconquest-rules"):
        (workplace.folder / folder).mkdir()
    for number in range(1, 6):
        _save(workplace.folder / f"data/{number}.dcm", f"1.2.3.{number}", number)
        if number < 5:
            _save(workplace.folder / f"export/1.2.3.{number}.dcm", f"1.2.3.{number}", number)
    with closing(_state(workplace)) as state:
        text = (MADE / "state.sql").read_text("utf-8")
        state.executescript(text.replace("{BASE}", f"{workplace.folder}/".encode().hex()))
    return workplace


def _save(file: Path, uid: str, number: int) -> None:
    instance, meta = Dataset(), FileMetaDataset()
    instance.SOPClassUID, instance.SOPInstanceUID, instance.Modality = UID("1.2.840.10008.5.1.4.1.1.2"), UID(uid), "CT"
    instance.StudyInstanceUID, instance.SeriesInstanceUID, instance.PatientID = "1.2", "1.2.3", "P1"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = instance.SOPClassUID, UID(uid)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, UID("1.2.3.4")
    instance.file_meta = meta
    instance.save_as(file, enforce_file_format=True)
    os.utime(file, ns=(MTIME + number, MTIME + number))


def _state(workplace: Workplace) -> sqlite3.Connection:
    return sqlite3.connect(workplace.folder / ".pyconquest-rules/state.db", isolation_level=None)


def test_what_was_done_is_done(earlier: Workplace) -> None:
    """What is young or was found changed is compared once more, as 0.1 would have."""
    planned = earlier.run("plan", "copy", "send", "--list", "--json")
    found = {(line["action"], line["SOPInstanceUID"][-1], line["reason"]) for line in planned.lines if line["event"] == "step"}
    copies = {("copy.export", "3", "adopt"), ("copy.export", "4", "adopt"), ("copy.export", "5", "new")}
    assert found == copies | {("send.to_clinic", uid, reason) for uid, reason in (("3", "retry"), ("4", "retry"), ("5", "new"))}
    assert planned.summary["reasons"]["unchanged:done"] == 4


def test_what_was_found_changed_is_still_known_as_changed(earlier: Workplace) -> None:
    file = earlier.folder / "export/1.2.3.4.dcm"
    file.write_bytes(file.read_bytes()[:-2] + b"XX")
    os.utime(file, ns=(MTIME + 4, MTIME + 4))
    assert earlier.run("verify", "--json").summary["changed"] == 1
    assert earlier.run("apply", "copy", "--json").code == 0  # 0.1 was allowed to repair it
    found = earlier.run("verify", "--deep", "--json").summary
    assert (found["ok"], found["changed"]) == (5, 0)


def test_what_stood_there_before_is_not_pruned(earlier: Workplace) -> None:
    rules = earlier.folder / "rules.toml"
    rules.write_text(rules.read_text("utf-8").replace('dcm"\n\n[send', 'dcm"\nprune = true\n\n[send'), "utf-8")
    for number in (1, 2):
        (earlier.folder / f"data/{number}.dcm").unlink()
    assert earlier.run("apply", "copy", "--allow-prune", "--allow-vanish").code == 0
    assert not (earlier.folder / "export/1.2.3.1.dcm").exists()
    assert (earlier.folder / "export/1.2.3.2.dcm").exists()


def test_counts_of_retrieved_instances_stay(earlier: Workplace) -> None:
    assert earlier.run("index").code == 0
    shown = {line.split()[0]: line.split() for line in earlier.run("status").out.splitlines()}
    assert shown["retrieve.plans"][1:] == ["2", "1", "0", "1", "2026-11-28T07:01:09+00:00"]
    assert shown["send.to_clinic"][1:] == ["2", "3", "0", "2", "2026-11-28T07:01:09+00:00"]


def test_a_second_open_changes_nothing(earlier: Workplace) -> None:
    earlier.run("index")
    earlier.run("status")
    with closing(_state(earlier)) as state:
        before = list(state.iterdump())
    earlier.run("status")
    with closing(_state(earlier)) as state:
        assert list(state.iterdump()) == before
        assert state.execute("SELECT value FROM state WHERE key = 'format'").fetchone() == (FORMAT,)


def test_a_state_that_cannot_be_carried_over_stays_as_it_is(earlier: Workplace) -> None:
    with closing(_state(earlier)) as state:
        state.execute("DROP TABLE sent")
        before = list(state.iterdump())
    assert earlier.run("status").code != 0
    with closing(_state(earlier)) as state:
        assert list(state.iterdump()) == before
