"""The network methods of pyconquest with DCMTK's programs as peers: its own examples, and our guarantees."""

import logging
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.events import EVT_C_FIND, Event

from pyconquest_rules.compat.errors import NotSent
from pyconquest_rules.compat.pyconquest import pyconquest
from pyconquest_rules.errors import UsageError
from pyconquest_rules.kinds.retrieve import do as retrievals
from pyconquest_rules.kinds.send import do as transfers
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.part10 import data_set_offset
from tests.conftest import REPOSITORY, Instance, Workplace
from tests.dcmtk import dcmtk
from tests.docs.blocks import blocks
from tests.peers.archives import ENVIRONMENT, dcmqrscp, orthanc, stored
from tests.peers.processes import free_port, storescp

CT = "1.2.840.10008.5.1.4.1.1.2"
SCRIPT = """
import signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # the parent process may ignore SIGINT
from pyconquest_rules.compat.pyconquest import pyconquest

c = pyconquest(data_directory="data2")
c.start_dicom_listener(port={port})
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run every test in a folder of its own, as a script runs, without waits before retries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retrievals, "DELAYS", ())
    monkeypatch.setattr(transfers, "DELAYS", ())
    yield tmp_path
    logging.getLogger("pyconquest").setLevel(logging.NOTSET)


def indexed(instance: Instance) -> pyconquest:
    """Write a data directory with two patients: P1 has two CT images, P2 has an RTDOSE."""
    for number in range(2):
        instance(f"data/{number}.dcm", PatientID="P1", SeriesInstanceUID="1.2.3.1")
    instance("data/dose.dcm", PatientID="P2", Modality="RTDOSE", SeriesInstanceUID="1.2.3.2")
    c = pyconquest()
    c.create_standard_dicom_tables()
    c.rebuild_database_from_dicom()
    return c


def uids(folder: Path | str) -> set[str]:
    return {str(pydicom.dcmread(path).SOPInstanceUID) for path in Path(folder).rglob("*") if path.is_file()}


def sent(port: int, *files: Path) -> int:
    """Send files with DCMTK's storescu. Return its exit code."""
    command = [dcmtk("storescu"), "-q", "127.0.0.1", str(port), *map(str, files)]
    return subprocess.run(command, env=ENVIRONMENT, check=False, timeout=60).returncode


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ({"patientid": "P1"}, 2),
        ({"seriesuid": "1.2.3.2"}, 1),
        ({"query": "Select Objectfile from DICOMimages where Modality='RTDOSE'"}, 1),
        ({"query": "select SeriesInst from DICOMseries"}, 3),
    ],
)
def test_sends_a_patient_a_series_or_a_query(instance: Instance, here: Path, arguments: dict[str, str], number: int) -> None:
    c = indexed(instance)
    with storescp(here) as port:
        c.send_dicom("127.0.0.1", port, **arguments)
    assert len(uids("received")) == number


def test_sends_files(instance: Instance, here: Path) -> None:
    one, other = instance("new/1.dcm"), instance("new/2.dcm")
    with storescp(here) as port:
        pyconquest().send_dicom_file("127.0.0.1", port, [str(one), str(other)])
        pyconquest().send_dicom_file("127.0.0.1", port, str(one))
    assert uids("received") == uids("new")


def test_a_failed_send_is_an_error(instance: Instance, here: Path, caplog: pytest.LogCaptureFixture) -> None:
    c = indexed(instance)
    with pytest.raises(NotSent, match="2 of 2 instances were not sent"):
        c.send_dicom("127.0.0.1", free_port(), patientid="P1")
    assert "cannot be reached" in caplog.text or "refuses the connection" in caplog.text
    Path("note.txt").write_text("no instance")
    with storescp(here) as port, pytest.raises(NotSent, match="1 of 2"):
        c.send_dicom_file("127.0.0.1", port, ["note.txt", "data/0.dcm"])
    assert len(uids("received")) == 1
    with pytest.raises(UsageError, match="needs a patientid"):
        c.send_dicom("127.0.0.1", 1)
    with pytest.raises(UsageError, match="see the log"):
        c.send_dicom("127.0.0.1", 1, query="select nonsense")
    with pytest.raises(UsageError, match="must return SeriesInst or ObjectFile"):
        c.send_dicom("127.0.0.1", 1, query="select Modality from DICOMseries")


def test_the_receiver_of_the_examples_stores_and_indexes(instance: Instance, here: Path) -> None:
    files = [instance(f"new/{number}.dcm") for number in range(3)]
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT.format(port=port)], stderr=subprocess.DEVNULL)
    try:
        while sent(port, files[0]) != 0:  # retry until it listens
            assert process.poll() is None
        assert sent(port, *files) == 0
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert sorted(path.name for path in Path("data2/P1").iterdir()) == sorted(f"{uid}.dcm" for uid in uids("new"))
    c = pyconquest(data_directory="data2")
    assert c.execute_db_query("select count(*) as nr from DICOMimages") == [{"nr": 3}]


def test_a_background_listener_ends_with_the_database(instance: Instance) -> None:
    c, port = pyconquest(), free_port()
    c.start_dicom_listener(port, block=False)
    assert sent(port, instance("new/1.dcm")) == 0
    assert c.execute_db_query("select ObjectFile from DICOMimages", "ObjectFile") == [f"P1/{uids('new').pop()}.dcm"]
    assert sent(port, instance("new/2.dcm", PatientID="../x"), instance("new/3.dcm", PatientID="")) == 0
    assert uids("data") == uids("new")
    c.close_db()
    assert sent(port, instance("new/1.dcm")) != 0


def test_a_listener_without_index(instance: Instance) -> None:
    c, port = pyconquest(), free_port()
    c.start_dicom_listener(port, write_to_database=False, block=False)
    assert sent(port, instance("new/1.dcm")) == 0
    assert uids("data") == uids("new")
    assert c.execute_db_query("select * from DICOMimages") == []
    c.close_db()


def test_handles_a_request_of_pynetdicom(instance: Instance, here: Path) -> None:
    dataset = pydicom.dcmread(instance("new/1.dcm"))
    with open("new/1.dcm", "rb") as file:
        offset = data_set_offset(file.fileno())
        data = file.read()[offset:]
    event = SimpleNamespace(
        request=SimpleNamespace(
            AffectedSOPClassUID=dataset.SOPClassUID,
            AffectedSOPInstanceUID=dataset.SOPInstanceUID,
            DataSet=SimpleNamespace(getvalue=lambda: data),
        ),
        context=SimpleNamespace(transfer_syntax=dataset.file_meta.TransferSyntaxUID),
        assoc=SimpleNamespace(requestor=SimpleNamespace(ae_title="CLINIC")),
    )
    assert pyconquest().handle_dicom_store_request(event) == 0
    assert pydicom.dcmread(Path("data/P1") / f"{dataset.SOPInstanceUID}.dcm") == dataset


def test_finds_series(instance: Instance) -> None:
    files = [instance("new/1.dcm", PatientID="P123"), instance("new/2.dcm", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3")]
    with orthanc() as node:
        stored(node, files)
        (found,) = pyconquest().query_dicom("127.0.0.1", node.port, node.ae_title, patientid="P123", modality="CT")
    assert (found["PatientID"], found["Modality"], found["StudyDate"]) == ("P123", "CT", "20240203")
    with pytest.raises(NodeError):
        pyconquest().query_dicom("127.0.0.1", free_port(), "NOBODY")


@pytest.mark.parametrize("archive", [orthanc, dcmqrscp], ids=["orthanc", "dcmqrscp"])
def test_retrieves_missing_instances(archive: Callable[..., AbstractContextManager[Node]], instance: Instance) -> None:
    files = [instance(f"new/{n}.dcm", PatientID="P123", SeriesInstanceUID=f"1.2.3.{n % 2}") for n in range(4)]
    port = free_port()
    with archive({"PYCONQUEST": port}) as node:
        stored(node, files)
        c = pyconquest()
        where: dict[str, Any] = {"port": node.port, "ae_title": node.ae_title, "receiving_port_number": port}
        assert c.get_dicom(**where, patientid="P12") is None  # too short: nothing is requested
        assert c.get_dicom(**where, series_uid="1.2.3.1") is None
        assert len(uids("data")) == 2
        assert c.get_dicom(**where, patientid="P123", modality="CT") is None
        assert uids("data") == uids("new")
        assert c.get_dicom(**where, patientid="P123", receiving_ae_title="OTHER") is None  # nothing is missing
    assert "refuses the connection" in (c.get_dicom(**where, patientid="P123") or "")


def test_instances_that_do_not_arrive_are_reported(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    with orthanc() as node:
        stored(node, [instance("new/1.dcm", PatientID="P123")])
        where: dict[str, Any] = {"port": node.port, "ae_title": node.ae_title, "receiving_port_number": free_port()}
        said = pyconquest().get_dicom(**where, patientid="P123", receiving_ae_title="UNKNOWN")
    assert said
    assert said.startswith("1 of 1 instances were not retrieved: node of the script (ORTHANC@127.0.0.1:")
    assert f"{uids('new').pop()} was not retrieved" in caplog.text


MIGRATE = (
    (REPOSITORY / "docs" / "migrate.md").read_text(encoding="utf-8").partition("## DICOM on the wire")[2].partition("\n## ")[0]
)


def test_the_script_of_the_page_runs(instance: Instance, here: Path) -> None:
    (script,) = blocks(MIGRATE, "python")
    instance("data/1.dcm", PatientID="1234567", Modality="CT")
    instance("data/2.dcm", PatientID="P1", Modality="RTDOSE", SeriesInstanceUID="1.2.3.1")
    plan = instance("plans/1.dcm", PatientID="1234567", Modality="RTPLAN", SeriesInstanceUID="1.2.3.2")
    pyconquest().rebuild_database_from_dicom()
    port, names = free_port(), dict[str, Any]()
    with storescp(here) as workstation, orthanc({"PYCONQUEST": port}, DicomAet="CLINIC") as clinic:
        stored(replace(clinic, ae_title="CLINIC"), [plan])
        script = script.replace("11112", str(workstation)).replace("4242", str(clinic.port))
        script = re.sub(r"(c.get_dicom\(.*)\)", rf"\1, receiving_port_number={port})", script)
        exec(script.replace("port=5678", f"port={free_port()}, block=False"), names)
        names["c"].close_db()
    assert len(uids("received")) == 2
    assert ([series["SeriesInstanceUID"] for series in names["series"]], names["wrong"]) == (["1.2.3.2"], None)
    assert uids("plans") < uids("data")


def test_the_rules_of_the_page_do_the_same(instance: Instance, here: Path) -> None:
    (rules,) = blocks(MIGRATE, "toml")
    instance("data/1.dcm", PatientID="1234567", Modality="CT")
    instance("data/2.dcm", PatientID="P1", Modality="RTDOSE", SeriesInstanceUID="1.2.3.1")
    plan = instance("plans/1.dcm", PatientID="1234567", Modality="RTPLAN", SeriesInstanceUID="1.2.3.2")
    port, workplace = free_port(), Workplace(here)
    with storescp(here) as workstation, orthanc({"PYCONQUEST": port}, DicomAet="CLINIC") as clinic:
        stored(replace(clinic, ae_title="CLINIC"), [plan])
        for number, other in (("11112", workstation), ("4242", clinic.port), ("5678", port)):
            rules = rules.replace(f"port = {number}", f"port = {other}")
        (here / "rules.toml").write_text(rules, encoding="utf-8")
        assert workplace.run("find", "clinic", "--level", "series", "PatientID=1234567", "--json").summary["rows"] == 1
        assert workplace.run("apply", "--json").summary["done"] == 1 + 2 + 1  # including the retrieved plan
    assert len(uids("received")) == 3
    assert uids("plans") < uids("data")


# Relational queries (PS3.4 C.4.1.2.2.1), as pyconquest sends them

STUDIES = 40


@contextmanager
def archive_of_many(*, relational: str) -> Iterator[tuple[Node, list[Dataset]]]:
    """A node with many studies of one series and image each, and the queries that it was sent.

    It answers a query that lacks a unique key of a level above, refuses it, or leaves those keys out of its answers.
    """
    asked: list[Dataset] = []
    keys = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

    def found(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        asked.append(query)
        level = ("PATIENT", "STUDY", "SERIES", "IMAGE").index(query.QueryRetrieveLevel)
        is_relational = not all(query.get(key) for key in keys[1:level])
        if is_relational and relational == "refused":
            yield 0xA900, None
            return
        for number in range(STUDIES):
            values = {"PatientID": f"P{number % 4}00", "Modality": "CT" if number % 2 else "MR", "SOPClassUID": CT}
            values |= {key: f"1.{at}.{number}" for at, key in enumerate(keys) if at}
            if any(query.get(key) and query[key].value != values[key] for key in (*keys, "Modality")):
                continue
            answer = Dataset()
            answer.QueryRetrieveLevel = query.QueryRetrieveLevel
            for key, value in values.items():
                if key in query and not (relational == "not said" and is_relational and key in keys[:level]):
                    setattr(answer, key, value)
            yield 0xFF00, answer

    ae = AE(ae_title="MANY")
    for model in ("1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1"):
        ae.add_supported_context(model)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(EVT_C_FIND, found)])
    assert server is not None
    try:
        yield Node("many", "MANY", "127.0.0.1", server.server_address[1]), asked
    finally:
        server.shutdown()


WANTED = [
    ({"seriesuid": "1.2.7"}, [7]),
    ({"seriesuid": "1.2.7", "modality": "CT"}, [7]),
    ({"seriesuid": "1.2.7", "modality": "MR"}, []),
    ({"modality": "MR"}, [*range(0, STUDIES, 2)]),
    ({"patientid": "P100"}, [*range(1, STUDIES, 4)]),
    ({"patientid": "P100", "seriesuid": "1.2.5"}, [5]),
    ({"studyuid": "1.1.9"}, [9]),
    ({}, [*range(STUDIES)]),
]


@pytest.mark.parametrize(("wanted", "numbers"), WANTED)
@pytest.mark.parametrize("relational", ["answered", "refused", "not said"])
def test_a_relational_query_is_one_message(relational: str, wanted: dict[str, str], numbers: list[int]) -> None:
    with archive_of_many(relational=relational) as (node, asked):
        found = pyconquest().query_dicom("127.0.0.1", node.port, "MANY", **wanted)
    assert sorted(int(each["SeriesInstanceUID"].split(".")[-1]) for each in found) == numbers
    assert all(each["StudyInstanceUID"] == each["SeriesInstanceUID"].replace("1.2.", "1.1.") for each in found)
    assert asked[0].SeriesInstanceUID == wanted.get("seriesuid", "")
    if relational == "answered":
        assert len(asked) == 1


@pytest.mark.parametrize(
    "wanted", [{"series_uid": "1.2.7"}, {"sop_instance_uid": "1.3.7"}, {"patientid": "P300", "modality": "CT"}]
)
@pytest.mark.parametrize("relational", ["answered", "refused", "not said"])
def test_get_dicom_queries_with_one_message(wanted: dict[str, Any], relational: str) -> None:
    with archive_of_many(relational=relational) as (node, asked):
        said = pyconquest().get_dicom("127.0.0.1", node.port, "MANY", **wanted, receiving_port_number=free_port())
    assert "were not retrieved" in (said or ""), "this node finds instances but moves none"
    if relational == "answered":
        assert len(asked) == 1
        assert asked[0].QueryRetrieveLevel == "IMAGE"
