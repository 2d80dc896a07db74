"""Storage commitment by Orthanc, on its own association, and by a peer that reports on ours."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.events import EVT_DIMSE_SENT, EVT_N_ACTION
from pynetdicom.presentation import build_context, build_role

from pyconquest_rules.errors import Error
from pyconquest_rules.network.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, REASONS, Report
from pyconquest_rules.network.commitment_scu import Waiting
from pyconquest_rules.network.node import TLS, Node, NodeError
from pyconquest_rules.network.tls import server_context, ssl_context
from tests.peers.archives import orthanc, stored, undisturbed
from tests.peers.certificates import Authority
from tests.peers.commitment import CT, information
from tests.quickstart import instances

LONG = 30


def test_orthanc_commits_to_the_instances_that_it_has() -> None:
    files = instances()[:6]
    had = [(dataset.SOPClassUID, dataset.SOPInstanceUID) for dataset in map(pydicom.dcmread, files)]
    with Waiting("PYCONQUEST") as waiting, orthanc({"PYCONQUEST": waiting.port}) as node:
        stored(node, files)
        transaction = waiting.request(node, had)
        assert waiting.report(transaction, LONG) == Report(transaction, frozenset(uid for _, uid in had), {})
        transaction = waiting.request(node, [*had, (CT, "1.2.3.4.5")])
        report = waiting.report(transaction, LONG)
        assert report.committed == {uid for _, uid in had}
        assert report.failed == {"1.2.3.4.5": 0x0112}
        assert REASONS[report.failed["1.2.3.4.5"]] == "no such object instance"


@contextmanager
def peer(status: int = 0, answer: Callable[[str], Dataset] | None = None) -> Iterator[tuple[Node, list[int]]]:
    """Start a peer that answers N-ACTION with `status`, then reports `answer` on the same association."""
    asked, answered, threads = [], [], []

    def action(event: Any) -> tuple[int, None]:
        asked.append(str(event.action_information.TransactionUID))
        return status, None

    def sent(event: Any) -> None:
        if type(event.message).__name__ == "N_ACTION_RSP" and answer is not None:
            threads.append(threading.Thread(target=report, args=(event.assoc, answer)))
            threads[-1].start()

    def report(association: Any, answer: Callable[[str], Dataset]) -> None:
        with undisturbed(association):
            response, _ = association.send_n_event_report(answer(asked[-1]), 2, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        answered.append(int(response.get("Status", -1)))

    ae = AE(ae_title="PEER")
    ae.add_supported_context(PUSH_MODEL)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(EVT_N_ACTION, action), (EVT_DIMSE_SENT, sent)])
    assert server is not None
    try:
        yield Node("peer", "PEER", "127.0.0.1", server.server_address[1], dimse_timeout=LONG), answered
    finally:
        for thread in threads:
            thread.join(LONG)
        server.shutdown()


def test_a_report_may_arrive_on_the_association_of_the_request() -> None:
    def answer(transaction: str) -> Dataset:
        return information(transaction, ["1.1", "1.2", "1.9"], {"1.2": 0x0213, "1.8": 0x0110})

    with peer(answer=answer) as (node, answered), Waiting("PYCONQUEST") as waiting:
        transaction = waiting.request(node, [(CT, "1.1"), (CT, "1.2"), (CT, "1.3")])
        report = waiting.report(transaction, LONG)
    # Unrequested instances are left out; an instance in both lists has failed.
    assert report == Report(transaction, frozenset({"1.1"}), {"1.2": 0x0213})
    assert answered == [0]


def test_a_report_of_an_unknown_transaction_is_refused() -> None:
    with peer() as (node, _), Waiting("PYCONQUEST") as waiting:
        waiting.request(node, [(CT, "1.1")])
        assert reported(waiting, "1.2.3") == 0x0115


def reported(
    waiting: Waiting, transaction: str, *, title: str = "PEER", called: str = "PYCONQUEST", address: str = "127.0.0.1"
) -> int | None:
    """Report 1.1 on a new association. Return the status of the answer, or None if the association is refused."""
    role = build_role(pydicom.uid.UID(PUSH_MODEL), scp_role=True)
    association = AE(ae_title=title).associate(
        "127.0.0.1", waiting.port, [build_context(PUSH_MODEL)], called, ext_neg=[role], bind_address=(address, 0)
    )
    if not association.is_established:
        return None
    said = information(transaction, ["1.1"], {})
    response, _ = association.send_n_event_report(said, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    association.release()
    return int(response.Status)


STRANGERS = {
    "another calling AE title": {"title": "OTHER"},
    "another called AE title": {"called": "OTHER"},
    "another address": {"address": "127.0.0.2"},
}


@pytest.mark.parametrize("how", STRANGERS)
def test_only_the_node_can_report_its_transaction(how: str) -> None:
    with peer() as (node, _), Waiting("PYCONQUEST") as waiting:
        transaction = waiting.request(node, [(CT, "1.1")])
        assert reported(waiting, transaction, **STRANGERS[how]) is None
        assert reported(waiting, transaction) == 0
        assert waiting.report(transaction, LONG).committed == {"1.1"}


def test_no_association_is_accepted_before_a_request() -> None:
    with Waiting("PYCONQUEST") as waiting:
        assert reported(waiting, "1.2.3") is None


def test_a_transaction_is_reported_once() -> None:
    with peer() as (node, _), Waiting("PYCONQUEST") as waiting:
        transaction = waiting.request(node, [(CT, "1.1")])
        assert [reported(waiting, transaction) for _ in range(3)] == [0, 0x0115, 0x0115]
        waiting.report(transaction, LONG)
        assert reported(waiting, transaction) == 0x0115


def test_a_node_cannot_report_a_transaction_of_another() -> None:
    with peer() as (node, _), peer() as (second, _), Waiting("PYCONQUEST") as waiting:
        other = replace(second, ae_title="OTHER")
        transaction = waiting.request(node, [(CT, "1.1")])
        waiting.request(other, [(CT, "1.1")])
        assert reported(waiting, transaction, title="OTHER") == 0x0115
        assert reported(waiting, transaction) == 0


def test_a_rejected_address_is_named_if_no_report_arrives() -> None:
    with peer() as (node, _), Waiting("PYCONQUEST") as waiting:
        transaction = waiting.request(node, [(CT, "1.1")])
        reported(waiting, transaction, address="127.0.0.2")
        with pytest.raises(NodeError, match=r"commitment_port rejected 127\.0\.0\.2"):
            waiting.report(transaction, 0.01)


def test_a_late_report_is_an_error_with_retry() -> None:
    with peer() as (node, _), Waiting("PYCONQUEST") as waiting:
        transaction = waiting.request(node, [(CT, "1.1")])
        with pytest.raises(NodeError, match="did not report its commitment within") as error:
            waiting.report(transaction, 0.01)
    assert error.value.retry


def test_a_node_that_refuses_the_request_is_an_error() -> None:
    with (
        peer(status=0x0110) as (node, _),
        Waiting("PYCONQUEST") as waiting,
        pytest.raises(NodeError, match="answers N-ACTION with 0x0110: processing failure"),
    ):
        waiting.request(node, [(CT, "1.1")])


def test_a_node_without_the_service_is_an_error_without_retry() -> None:
    ae = AE(ae_title="PEER")
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    node = Node("peer", "PEER", "127.0.0.1", server.server_address[1])
    with Waiting("PYCONQUEST") as waiting, pytest.raises(NodeError, match="accepts none of the SOP classes") as error:
        waiting.request(node, [(CT, "1.1")])
    server.shutdown()
    assert not error.value.retry


def test_reports_over_tls(tmp_path: Path) -> None:
    """Peers that are silent, have no certificate or do not speak TLS do not prevent it."""
    authority = Authority(tmp_path)
    ours, theirs = (TLS(authority.ca, *authority.sign(host)) for host in ("us.example", "archive.example"))
    role, said = build_role(pydicom.uid.UID(PUSH_MODEL), scp_role=True), information("1.2.3", ["1.1"], {})
    with peer() as (node, _), Waiting("PYCONQUEST", context=server_context(node, ours)) as waiting:
        waiting.request(node, [(CT, "1.1")])
        for tls in (None, TLS(authority.ca), theirs):
            arguments: dict[str, Any] = {} if tls is None else {"tls_args": (ssl_context(node, tls), None)}
            with socket.create_connection(("127.0.0.1", waiting.port)):
                ae = AE(ae_title="PEER")
                contexts = [build_context(PUSH_MODEL)]
                association = ae.associate("127.0.0.1", waiting.port, contexts, "PYCONQUEST", ext_neg=[role], **arguments)
            assert association.is_established == (tls is theirs)
        response, _ = association.send_n_event_report(said, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        association.release()
    assert response.Status == 0x0115  # the report arrived, but its transaction is unknown


def test_a_port_in_use_is_an_error() -> None:
    with Waiting("PYCONQUEST") as waiting, pytest.raises(Error, match=f"cannot listen on 127.0.0.1:{waiting.port}"):
        Waiting("PYCONQUEST", port=waiting.port)
