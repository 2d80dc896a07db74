"""Storage commitment by `listen`, requested by Orthanc, by pynetdicom and by our own SCU."""

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.events import EVT_N_EVENT_REPORT, Event

from pyconquest_rules.network.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from pyconquest_rules.network.commitment_scu import Waiting
from pyconquest_rules.network.node import Node, NodeError
from tests.conftest import Instance, Workplace
from tests.execute.listeners import listening, next_line, storescu
from tests.network.raw import CT
from tests.peers.archives import orthanc, undisturbed
from tests.peers.processes import free_port
from tests.waiting import until

LONG = 60
RULES = """
[sources.archive]
path = "archive"
layout = "{{ PatientID }}/{{ SOPInstanceUID }}.dcm"

[listen.inbox]
ae_title = "RULES"
port = 0
into = "archive"
"""
NODE = """
[nodes.peer]
ae_title = "PEER"
host = "127.0.0.1"
port = %d
"""


@pytest.fixture
def inbox(workplace: Workplace) -> Workplace:
    (workplace.folder / "archive").mkdir()
    return workplace.rules(RULES)


def received(inbox: Workplace, instance: Instance, port: int, number: int) -> list[tuple[str, str]]:
    """Send instances to the listener. Return their SOP Class and SOP Instance UIDs."""
    files = [instance(f"sent/{each}.dcm", InstanceNumber=each, PatientID="P1", SOPClassUID=CT) for each in range(number)]
    assert storescu(port, *files) == 0
    sent = [pydicom.dcmread(file) for file in files]
    return [(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)) for dataset in sent]


def spoilt(inbox: Workplace, uids: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Damage some files. Return the instances to request, and the expected Failure Reasons."""
    places = [inbox.folder / f"archive/P1/{uid}.dcm" for _, uid in uids]
    places[1].unlink()
    places[2].write_bytes(places[2].read_bytes()[:-10])
    size = places[3].stat().st_size
    places[3].write_bytes(bytes(size))
    wanted = [*uids[:4], ("1.2.840.10008.5.1.4.1.1.4", uids[4][1]), (CT, "1.2.3.4.5"), *uids[5:]]
    return wanted, {uids[1][1]: 0x0112, uids[2][1]: 0x0112, uids[3][1]: 0x0110, uids[4][1]: 0x0119, "1.2.3.4.5": 0x0112}


@pytest.mark.parametrize("known", [False, True])
def test_commits_to_existing_instances_and_gives_reasons_for_others(known: bool, inbox: Workplace, instance: Instance) -> None:
    with Waiting("PEER") as waiting:
        if known:  # a known node gets the report on a new association
            inbox.rules(RULES + NODE % waiting.port)
        with listening(inbox) as (port, process):
            uids = received(inbox, instance, port, 8)
            node = Node("rules", "RULES", "127.0.0.1", port, calling_ae_title="PEER")
            transaction = waiting.request(node, uids)
            report = waiting.report(transaction, LONG)
            assert report.committed == {uid for _, uid in uids}
            assert not report.failed
            wanted, reasons = spoilt(inbox, uids)
            report = waiting.report(waiting.request(node, wanted), LONG)
            assert report.failed == reasons
            assert report.committed == {uid for _, uid in uids} - reasons.keys()
            process.terminate()
            assert next_line(process, "summary")["refused"] == 0


def test_pynetdicom_gets_the_report_on_its_association(inbox: Workplace, instance: Instance) -> None:
    reported: list[Dataset] = []

    def take(event: Event) -> tuple[int, None]:
        reported.append(event.event_information)
        return 0, None

    with listening(inbox) as (port, _):
        uids = received(inbox, instance, port, 2)
        ae = AE(ae_title="STRANGER")
        ae.add_requested_context(PUSH_MODEL)
        association = ae.associate("127.0.0.1", port, ae_title="RULES", evt_handlers=[(EVT_N_EVENT_REPORT, take)])
        information = asked("1.2.3", uids)
        status, _ = association.send_n_action(information, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        assert status.Status == 0
        until(lambda: bool(reported))
        association.release()
    assert reported[0].TransactionUID == "1.2.3"
    assert {item.ReferencedSOPInstanceUID for item in reported[0].ReferencedSOPSequence} == {uid for _, uid in uids}
    assert "FailedSOPSequence" not in reported[0]


def asked(transaction: str | None, uids: list[tuple[str, str]] | None) -> Dataset:
    information = Dataset()
    if transaction is not None:
        information.TransactionUID = transaction
    if uids is not None:
        information.ReferencedSOPSequence = []
        for sop_class, uid in uids:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
            information.ReferencedSOPSequence.append(item)
    return information


@pytest.mark.parametrize(
    ("information", "action", "instance_uid", "status"),
    [
        (asked(None, [(CT, "1.2")]), 1, PUSH_MODEL_INSTANCE, 0x0115),
        (asked("", [(CT, "1.2")]), 1, PUSH_MODEL_INSTANCE, 0x0115),
        (asked("1.2.3", None), 1, PUSH_MODEL_INSTANCE, 0x0115),
        (asked("1.2.3", []), 1, PUSH_MODEL_INSTANCE, 0x0115),
        (None, 1, PUSH_MODEL_INSTANCE, 0x0115),
        (asked("1.2.3", [(CT, "1.2")]), 2, PUSH_MODEL_INSTANCE, 0x0123),
        (asked("1.2.3", [(CT, "1.2")]), 1, "1.2.3", 0x0112),
    ],
)
def test_invalid_requests_are_refused_and_logged(
    information: Dataset | None, action: int, instance_uid: str, status: int, inbox: Workplace
) -> None:
    with listening(inbox) as (port, process):
        ae = AE(ae_title="STRANGER")
        ae.add_requested_context(PUSH_MODEL)
        association = ae.associate("127.0.0.1", port, ae_title="RULES")
        with undisturbed(association):
            answer, _ = association.send_n_action(information, action, PUSH_MODEL, instance_uid)
        association.release()
        assert answer.Status == status
        line = next_line(process, "peer_refused")
    assert (line["what"], line["calling_ae_title"], line["address"]) == ("commitment", "STRANGER", "127.0.0.1")
    assert f"({status:04X})" in line["reason"]


def test_a_report_that_a_node_refuses_is_logged(inbox: Workplace, instance: Instance) -> None:
    ae = AE(ae_title="PEER")
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    inbox.rules(RULES + NODE % server.server_address[1])
    with listening(inbox) as (port, process), Waiting("PEER", port=None) as waiting:
        uids = received(inbox, instance, port, 1)
        transaction = waiting.request(Node("rules", "RULES", "127.0.0.1", port, calling_ae_title="PEER"), uids)
        line = next_line(process, "peer_refused")
        with pytest.raises(NodeError, match="did not report"):
            waiting.report(transaction, 0.01)
    server.shutdown()
    assert line["what"] == "commitment"
    assert "accepts none of the SOP classes" in line["reason"]


# Orthanc.


@contextmanager
def rest(port: int) -> Iterator[tuple[Node, Any]]:
    """Start an Orthanc that knows our listener. Yield it, and a function that calls its REST interface."""
    http = free_port()

    def call(path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{http}{path}", data=body), timeout=LONG) as answer:
            return json.loads(answer.read())

    settings = {"HttpServerEnabled": True, "HttpPort": http, "RemoteAccessAllowed": False, "AuthenticationEnabled": False}
    with orthanc({"RULES": port}, **settings) as node:
        yield node, call


def test_orthanc_stores_with_commitment(inbox: Workplace, instance: Instance) -> None:
    port = free_port()
    with rest(port) as (node, call):
        of_orthanc = NODE.replace("PEER", "ORTHANC") % node.port
        inbox.rules(RULES.replace("port = 0", f"port = {port}") + of_orthanc)
        files = [instance(f"sent/{number}.dcm", InstanceNumber=number, PatientID="P1") for number in range(5)]
        ids = [call("/instances", file.read_bytes())["ID"] for file in files]
        with listening(inbox):
            body = {"Resources": ids, "StorageCommitment": True, "Synchronous": True}
            transaction = call("/modalities/RULES/store", json.dumps(body).encode())["StorageCommitmentTransactionUID"]
            until(lambda: call(f"/storage-commitment/{transaction}")["Status"] != "Pending")
            answer = call(f"/storage-commitment/{transaction}")
            assert answer["Status"] == "Success", answer
            assert len(answer["Success"]) == 5
            os.remove(next((inbox.folder / "archive/P1").iterdir()))
            transaction = call("/modalities/RULES/storage-commitment", json.dumps({"Resources": ids}).encode())["ID"]
            until(lambda: call(f"/storage-commitment/{transaction}")["Status"] != "Pending")
            answer = call(f"/storage-commitment/{transaction}")
        assert (answer["Status"], len(answer["Success"]), len(answer["Failures"])) == ("Failure", 4, 1)
        assert Path(files[0]).exists()
