"""`[listen.NAME]` with DCMTK's storescu: acknowledged instances are stored and indexed."""

import signal

import pydicom
import pytest

from tests.conftest import Instance, Workplace
from tests.execute.listeners import RULES, listening, next_line, storescu


@pytest.fixture
def inbox(workplace: Workplace) -> Workplace:
    (workplace.folder / "archive").mkdir()
    return workplace.rules(RULES)


def test_a_received_instance_is_stored_indexed_and_copied(inbox: Workplace, instance: Instance) -> None:
    files = [instance(f"sent/{number}.dcm", InstanceNumber=number, Modality="CT", PatientID="P1") for number in range(5)]
    with listening(inbox) as (port, process):
        assert storescu(port, *files) == 0
        assert next_line(process, "ran")["failed"] == 0
        for path in files:
            dataset = pydicom.dcmread(path)
            received = pydicom.dcmread(inbox.folder / "archive" / "P1" / f"{dataset.SOPInstanceUID}.dcm")
            assert received == dataset
        assert storescu(port, *files) == 0  # again: duplicates
        process.send_signal(signal.SIGTERM)
        summary = next_line(process, "summary")
        assert process.wait(60) == 0
    assert (summary["received"], summary["duplicates"], summary["refused"]) == (10, 5, 0)
    assert len(inbox.files("export")) == 5
    index = inbox.run("index", "--json").summary
    assert (index["read"], index["unchanged"]) == (0, 5)


def test_another_data_set_of_an_instance_is_refused(inbox: Workplace, instance: Instance) -> None:
    first = instance("sent/1.dcm", SOPInstanceUID="1.2.3", StudyDescription="first")
    other = instance("sent/2.dcm", SOPInstanceUID="1.2.3", StudyDescription="other")
    with listening(inbox) as (port, process):
        assert storescu(port, first) == 0
        before = inbox.files("archive")
        assert storescu(port, other) != 0
        assert inbox.files("archive") == before
        process.send_signal(signal.SIGTERM)
        assert next_line(process, "summary")["refused"] == 1


def test_acknowledged_instances_survive_a_kill(inbox: Workplace, instance: Instance) -> None:
    files = [instance(f"sent/{number}.dcm", InstanceNumber=number) for number in range(20)]
    with listening(inbox) as (port, process):
        assert storescu(port, *files) == 0
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    found = inbox.run("query", "--format", "csv", "select SOPInstanceUID from images").out.split()[1:]
    assert set(found) == {str(pydicom.dcmread(path).SOPInstanceUID) for path in files}
    assert inbox.run("index", "--json").summary["unchanged"] == 20


def test_a_layout_that_gives_no_path_refuses_the_instance(inbox: Workplace, instance: Instance) -> None:
    with listening(inbox) as (port, _):
        assert storescu(port, instance("sent/1.dcm", PatientID="")) != 0
        assert storescu(port, instance("sent/2.dcm", PatientID="../../x")) == 0
    (path,) = inbox.files("archive")
    assert path.startswith(".._.._x/")


@pytest.mark.parametrize("index_again", [True, False], ids=["made anew", "only deleted"])
def test_a_listener_follows_an_index_that_was_deleted(inbox: Workplace, instance: Instance, *, index_again: bool) -> None:
    files = [instance(f"sent/{number}.dcm", PatientID="P1") for number in range(3)]
    with listening(inbox) as (port, _):
        assert storescu(port, files[0]) == 0
        for file in inbox.folder.glob("conquest.db*"):
            file.unlink()
        if index_again:
            assert inbox.run("index").code == 0
        assert storescu(port, *files[1:]) == 0
        assert inbox.run("query", "select * from images", "--json").summary["rows"] == (3 if index_again else 2)
    assert inbox.run("index", "--json").code == 0
    assert inbox.run("query", "select * from images", "--json").summary["rows"] == 3
