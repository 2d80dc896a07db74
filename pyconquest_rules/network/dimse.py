"""Associations of pynetdicom for services whose messages are few and small: queries, retrievals, commitments."""

import logging
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.events import EVT_CONN_OPEN, EVT_PDU_RECV, Event
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.presentation import PresentationContext

from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.tls import ssl_context

# pynetdicom logs identifiers, that is values of patients, and reads them for that whatever the level of its logger is.
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

SUCCESS, OUT_OF_RESOURCES = 0x0000, range(0xA700, 0xA800)
TRANSIENT = 2  # a rejection of an association (PS3.8 9.3.4)

UNCOMPRESSED: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


@contextmanager
def associated(node: Node, contexts: Sequence[PresentationContext], **arguments: Any) -> Iterator[Association]:
    """An association with a node, released at the end, aborted where an error ends it. `arguments` are those of AE.associate.

    Raises NodeError where the node cannot be reached, rejects the association or refuses all contexts.
    """
    ae = AE(ae_title=node.calling_ae_title)
    ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout = node.connect_timeout, node.acse_timeout, node.dimse_timeout
    ae.network_timeout = None
    if node.tls is not None:
        arguments["tls_args"] = (ssl_context(node, node.tls), node.tls.host_name or node.host)
    connected: list[Event] = []
    received: list[Event] = []
    handlers = [
        (EVT_CONN_OPEN, connected.append),
        (EVT_PDU_RECV, lambda event: received.append(event) if not received else None),
        *arguments.pop("evt_handlers", []),
    ]
    try:
        association = ae.associate(
            node.host, node.port, list(contexts), node.ae_title, node.max_pdu, evt_handlers=handlers, **arguments
        )
    except OSError as error:
        raise NodeError(node, f"cannot be reached: {error.strerror or error}") from None
    if not association.is_established:
        raise _not_established(node, association, bool(connected), received[0].pdu if received else None)
    try:
        _without_delay(association)
        yield association
    except GeneratorExit:
        association.release()
        raise
    except BaseException:
        association.abort()
        raise
    association.release()


def _without_delay(association: Association) -> None:
    """A command and its data set are two writes: without this the second waits for the peer's delayed acknowledgment."""
    connection = association.dul.socket and association.dul.socket.socket
    if connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def undisturbed(association: Association) -> Iterator[None]:
    """Leaves all messages to who waits for them.

    Otherwise the association's own thread, which is told to pause but may just be waking up, can take a response for itself:
    seen as a match that was missing in 1 of 150 queries.
    """
    dimse, get_msg = association.dimse, association.dimse.get_msg
    dimse.get_msg = lambda block=False: get_msg(block=True) if block else (None, None)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del dimse.get_msg  # so that the method of the class is there again


def _not_established(node: Node, association: Association, connected: bool, answer: Any) -> NodeError:
    """Why there is no association.

    `answer`: the PDU that came first. Where the peer rejects and closes at once, pynetdicom itself may take that for an abort.
    """
    if not connected:
        return NodeError(node, "cannot be reached, or TLS with it fails" if node.tls else "cannot be reached")
    if isinstance(answer, A_ASSOCIATE_RJ):
        return NodeError(node, f"rejects the association: {_reason(answer)}", retry=answer.result == TRANSIENT)
    if association.rejected_contexts:
        return NodeError(node, "refuses every presentation context that was proposed", retry=False)
    return NodeError(node, "broke off, or was silent, while the association was negotiated")


def _reason(answer: A_ASSOCIATE_RJ) -> str:
    """The words of PS3.8 9.3.4 for a rejection."""
    try:
        return answer.reason_str
    except ValueError:
        return "for a reason that the Standard does not know"


def lost(node: Node) -> NodeError:
    """There is no association any more, or none that is of use."""
    return NodeError(node, "the association was lost, or no answer came in time")


def status_of(node: Node, response: Dataset) -> int:
    """The status of a response. pynetdicom gives none where the association was lost or the node was silent."""
    if "Status" not in response:
        raise lost(node)
    return int(response.Status)


def refusal(node: Node, service: str, status: int, words: Mapping[int, tuple[str, str]]) -> NodeError:
    """An answer that is neither success nor pending. Error Comment (0000,0902) is left out: it may name a patient."""
    category, text = words.get(status, ("", ""))
    return NodeError(
        node, f"answers {service} with 0x{status:04X}: {text or category or 'unknown status'}", retry=status in OUT_OF_RESOURCES
    )
