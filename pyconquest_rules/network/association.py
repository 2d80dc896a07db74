"""Associations that we ask for: negotiated by pynetdicom, then a Wire. And verification, which is little more than one."""

import logging
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association as Negotiation
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from pyconquest_rules.network import wire
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.tls import ssl_context

# What pynetdicom logs may hold values of a patient, and costs time.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
_config.LOG_HANDLER_LEVEL = "none"

MOST_CONTEXTS = 128
"""Presentation context IDs are the odd numbers from 1 to 255 (PS3.8 9.3.2.2)."""

# No A-ASSOCIATE-AC with 128 contexts is nearly as long, and no command of DIMSE.
LONGEST_ANSWER, LONGEST_COMMAND = 1 << 20, 1 << 16
# The longest PDU taken where the node's max_pdu is 0.
LONGEST_PDU = 1 << 24

VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.1", "1.2.840.10008.1.2"

REJECTIONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
SOURCES = {1: "service user", 2: "service provider, ACSE", 3: "service provider, presentation"}
"""Sources and reasons of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

EXPIRED, NOT_YET_VALID, WRONG_HOST, WRONG_ADDRESS = 10, 9, 62, 64
UNKNOWN_ISSUER = {2, 18, 19, 20, 21}
"""Verify codes of OpenSSL (X509_V_ERR_…)."""


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context to propose (PS3.8 7.1.1.13): an abstract syntax, in one of these transfer syntaxes."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class ContextsRefused(NodeError):
    """The node accepts none of the presentation contexts that were proposed."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, "accepts none of the SOP classes and transfer syntaxes proposed", retry=False)


@dataclass(frozen=True, slots=True)
class Association:
    """An established association. `contexts` has the IDs of those accepted, by abstract and transfer syntax.

    `maximum_length` is the longest PDU that the peer receives (PS3.8 D.1), 0 for any.
    """

    node: Node
    wire: wire.Wire
    contexts: Mapping[tuple[str, str], int]
    maximum_length: int

    def command(self) -> tuple[int, dict[int, bytes]]:
        """The context ID and the elements of the next command, all of which comes within the node's DIMSE timeout.

        Raises Lost where it does not come, WireError where something else comes.
        """
        end, received, context_id = time.monotonic() + self.node.dimse_timeout, bytearray(), None
        while True:
            fragments = list(self.wire.fragments(end - time.monotonic()))
            if not fragments:
                raise wire.Lost("the peer ended the association")
            for at, fragment in enumerate(fragments, start=1):
                if not fragment.control & wire.COMMAND or context_id not in {None, fragment.context_id}:
                    raise wire.WireError("the peer sent what is no command")
                context_id = fragment.context_id
                received += fragment.data
                if len(received) > LONGEST_COMMAND:
                    raise wire.WireError("the peer sent a command that is too long")
                if fragment.control & wire.LAST:
                    if at != len(fragments):
                        raise wire.WireError("the peer sent more than an answer")
                    return fragment.context_id, wire.parsed(bytes(received))

    def answer(self, context_id: int, message_id: int, field: int) -> dict[int, bytes]:
        """The response to a message of ours: the next command, of the same context and message, of this kind, without a data set.

        Raises WireError where it is another one (PS3.7 9.3), Lost where none comes.
        """
        context, answer = self.command()
        if (
            context != context_id
            or wire.number(answer, wire.COMMAND_FIELD) != field
            or wire.number(answer, wire.MESSAGE_ID_RESPONDED) != message_id
            or wire.number(answer, wire.DATA_SET_TYPE) != wire.NO_DATA_SET
        ):
            raise wire.WireError("the peer answered something that was not asked")
        return answer


def batches(contexts: Sequence[Context]) -> Iterator[Sequence[Context]]:
    """As many as one association can propose, again and again."""
    for start in range(0, len(contexts), MOST_CONTEXTS):
        yield contexts[start : start + MOST_CONTEXTS]


@contextmanager
def requested(node: Node, contexts: Sequence[Context]) -> Iterator[Association]:
    """An association with a node (PS3.8 7.1): released at the end, aborted where an error leaves the block.

    Raises NodeError where it does not come about; ContextsRefused where no context is accepted.
    """
    association = negotiated(node, contexts)
    try:
        yield association
    except BaseException:
        association.wire.abort()
        raise
    association.wire.release(node.acse_timeout)


def echo(node: Node) -> None:
    """Verification (PS3.4 A, C-ECHO of PS3.7 9.1.5). Raises NodeError where the node does not answer with success."""
    with requested(node, [Context(VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,))]) as association:
        (context_id,) = association.contexts.values()
        command: wire.Command = {
            wire.AFFECTED_SOP_CLASS: VERIFICATION.encode(),
            wire.COMMAND_FIELD: wire.C_ECHO_RQ,
            wire.MESSAGE_ID: 1,
            wire.DATA_SET_TYPE: wire.NO_DATA_SET,
        }
        try:
            association.wire.write(wire.message(context_id, wire.command_set(command), association.maximum_length))
            answer = association.answer(context_id, 1, wire.C_ECHO_RSP)
            status = wire.number(answer, wire.STATUS)
        except wire.WireError as error:
            raise NodeError(node, str(error)) from None
    if status:
        raise NodeError(node, f"answered C-ECHO with status {status:04X}", retry=False)


class _Connected(AssociationSocket):
    """A connection that is there already: read with a deadline, and no more once the association is established.

    `problem` says what went wrong with it, for pynetdicom only knows that something did.
    """

    def __init__(self, association: Any, connection: socket.socket, address: AddressInformation, seconds: float) -> None:
        self.connection, self.end = connection, time.monotonic() + seconds
        self.problem: OSError | None = None
        self.wants_tls = False
        super().__init__(association, address=address)

    def _create_socket(self, address: AddressInformation) -> socket.socket:
        return self.connection

    @property
    def _is_connected(self) -> bool:
        """Always: pynetdicom asks when the answer may have come, and would take a peer that closed then for one never reached."""
        return True

    @_is_connected.setter
    def _is_connected(self, _: bool) -> None:
        pass

    def connect(self, primitive: T_CONNECT) -> None:
        primitive.result = "Evt2"
        self.provider_queue.put(primitive)
        self._ready.set()

    @property
    def ready(self) -> bool:
        """Whether pynetdicom may read, which is the answer and no more (Sta5 of PS3.8 9.2): what comes then is the Wire's."""
        return self.assoc.dul.state_machine.current_state == "Sta5" and super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        received = bytearray()
        try:
            if nr_bytes > LONGEST_ANSWER:
                raise OSError("too long")
            while len(received) < nr_bytes:
                self.connection.settimeout(max(self.end - time.monotonic(), 0.001))
                data = self.connection.recv(nr_bytes - len(received))
                if not data:
                    raise ConnectionResetError
                received += data
        except OSError as error:
            self.problem = error
            raise
        self.wants_tls = self.wants_tls or received[:1] == b"\x15"
        return received


class _Requestor(AE):
    """An AE whose associations use the connection that it is given."""

    def __init__(self, node: Node, connection: socket.socket) -> None:
        super().__init__(node.calling_ae_title)
        self.acse_timeout, self.network_timeout = node.acse_timeout, None
        self.node, self.connection = node, connection

    def _create_socket(self, assoc: Negotiation, address: AddressInformation, tls_args: Any) -> AssociationSocket:
        # Whoever interrupts the negotiation wants to end, and does not wait for that thread.
        assoc.dul.daemon = True
        return _Connected(assoc, self.connection, address, self.node.acse_timeout)


def negotiated(node: Node, contexts: Sequence[Context]) -> Association:
    """An association with a node, to be released or aborted by the caller. Raises NodeError, ContextsRefused."""
    connection = _connected(node)
    try:
        proposed = [build_context(context.abstract_syntax, list(context.transfer_syntaxes)) for context in contexts]
        # The address is for pynetdicom's own use, and it has none: the connection is there.
        peer = _Requestor(node, connection).associate("127.0.0.1", node.port, proposed, node.ae_title, node.max_pdu)
        if not peer.is_established:
            peer.dul.kill_dul()
            peer.dul.join()
            raise _refusal(node, peer)
        # From here on pynetdicom's two threads, which look for something to do a thousand times a second, are not needed.
        peer._kill = True
        peer.dul.kill_dul()
        peer.dul.join()
        peer.join()
        accepted = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])): context.context_id or 0
            for context in peer.accepted_contexts
            if context.context_id and str(context.transfer_syntax[0]) in contexts[context.context_id // 2].transfer_syntaxes
        }
        over = wire.Wire(connection, longest=node.max_pdu or LONGEST_PDU, seconds=node.dimse_timeout)
        if not accepted:
            over.abort()
            raise ContextsRefused(node)
        return Association(node, over, accepted, peer.acceptor.maximum_length or 0)
    except BaseException:
        connection.close()
        raise


def _refusal(node: Node, peer: Negotiation) -> NodeError:
    """Why an association did not come about."""
    answer, connected = peer.acceptor.primitive, peer.dul.socket
    if peer.is_rejected and answer is not None:
        source, reason = answer.result_source or 0, answer.diagnostic or 0
        permanent = answer.result == 1
        words = REJECTIONS.get((source, reason), f"reason {reason}")
        kind = "permanently" if permanent else "for now"
        return NodeError(
            node, f"rejects the association {kind}: {words} ({SOURCES.get(source, 'unknown source')})", retry=not permanent
        )
    if answer is not None and answer.result == 0:
        return ContextsRefused(node)
    if isinstance(connected, _Connected):
        if connected.wants_tls:
            return NodeError(node, "speaks TLS only", retry=False)
        if isinstance(connected.problem, ssl.SSLError):
            return NodeError(node, _tls_words(connected.problem), retry=False)
        if isinstance(connected.problem, TimeoutError):
            return NodeError(node, f"does not answer the association request within {node.acse_timeout:g} s")
        if isinstance(connected.problem, ConnectionError):
            # In TLS 1.3 a peer that misses our certificate says so after the handshake, and closing it may outrun the words.
            hint = (
                "TLS" if node.tls is None else "a certificate of ours" if node.tls.certificate is None else "another certificate"
            )
            return NodeError(node, f"closes the connection instead of answering the association request; perhaps it wants {hint}")
    if peer._sent_abort:
        return NodeError(node, f"does not answer the association request within {node.acse_timeout:g} s")
    return NodeError(node, "aborts the association instead of answering the request")


def _connected(node: Node) -> socket.socket:
    """A connection, secured where the node wants that."""
    try:
        connection = socket.create_connection((node.host, node.port), node.connect_timeout)
    except socket.gaierror:
        raise NodeError(node, "the host is not known") from None
    except TimeoutError:
        raise NodeError(node, f"no connection within {node.connect_timeout:g} s") from None
    except ConnectionRefusedError:
        raise NodeError(node, "refuses the connection") from None
    except OSError as error:
        raise NodeError(node, f"cannot be reached: {error.strerror or 'unknown reason'}") from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if node.tls is None:
        return connection
    try:
        return ssl_context(node, node.tls).wrap_socket(connection, server_hostname=node.tls.host_name)
    except TimeoutError:
        raise NodeError(node, f"is silent in the TLS handshake for {node.connect_timeout:g} s") from None
    except OSError as error:
        raise NodeError(node, _tls_words(error), retry=False) from None
    finally:
        # wrap_socket() detaches it; what is closed here is one that was not secured.
        connection.close()


def _tls_words(error: OSError) -> str:
    """What a failed handshake means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        match error.verify_code:
            case code if code in UNKNOWN_ISSUER:
                return "has a certificate that is not signed by our CA"
            case code if code == EXPIRED:
                return "has a certificate that is expired"
            case code if code == NOT_YET_VALID:
                return "has a certificate that is not valid yet"
            case code if code in {WRONG_HOST, WRONG_ADDRESS}:
                return "has a certificate of another host"
            case _:
                return f"has a certificate that does not hold: {error.verify_message}"
    reason = getattr(error, "reason", None) or ""
    if "CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason or "UNKNOWN_CA" in reason:
        return "does not take our certificate, or wants one"
    if "VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason or "UNEXPECTED_MESSAGE" in reason:
        return "does not speak TLS"
    if "PROTOCOL" in reason:
        return "does not speak TLS 1.2 or newer"
    return "breaks off the TLS handshake; perhaps it does not speak TLS"
