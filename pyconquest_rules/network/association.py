"""Request associations (PS3.8 7.1), and verify that a node answers (C-ECHO)."""

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pyconquest_rules.network import associate, wire
from pyconquest_rules.network.limits import LONGEST_DATA_SET, LONGEST_IDENTIFIER, LONGEST_PDU
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.receiving import Messages
from pyconquest_rules.network.tls import ssl_context
from pyconquest_rules.network.wire import Command

MOST_CONTEXTS = 128
"""The number of presentation context IDs, which are the odd numbers from 1 to 255 (PS3.8 9.3.2.2)."""

VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.1", "1.2.840.10008.1.2"

TLS_ALERT = 0x15

EXPIRED, NOT_YET_VALID, WRONG_HOST, WRONG_ADDRESS = 10, 9, 62, 64
UNKNOWN_ISSUER = {2, 18, 19, 20, 21}
"""Verify codes of OpenSSL (X509_V_ERR_…)."""


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context to propose (PS3.8 7.1.1.13): an abstract syntax and transfer syntaxes to choose from."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class ContextsRefused(NodeError):
    """The node accepts none of the presentation contexts that were proposed."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, "accepts none of the SOP classes and transfer syntaxes proposed", retry=False)


@dataclass(frozen=True, slots=True)
class Association:
    """An established association.

    `accepted` maps context IDs to abstract and transfer syntax, `contexts` the reverse. `maximum_length` is the longest PDU that
    the peer receives (PS3.8 D.1), or 0 for any. `messages` reads incoming messages; the next must begin within the node's DIMSE
    timeout.
    """

    node: Node
    wire: wire.Wire
    messages: Messages
    accepted: Mapping[int, tuple[str, str]]
    contexts: Mapping[tuple[str, str], int]
    maximum_length: int

    def write(self, context_id: int, command: Command, data_set: bytes = b"") -> None:
        """Send a message. Raises Lost."""
        self.wire.write(wire.message(context_id, wire.command_set(command), self.maximum_length, data_set))

    def answer(self, context_id: int, message_id: int, field: int) -> dict[int, bytes]:
        """Read the response to a request. `field` is its Command Field; it has no data set.

        Raises WireError if the next command is another one (PS3.7 9.3), Lost if none arrives.
        """
        message = self.messages.command()
        if message is None:
            raise wire.Lost("the peer ended the association")
        if (
            message.context_id != context_id
            or message.kind != field
            or wire.number(message.command, wire.MESSAGE_ID_RESPONDED) != message_id
            or message.has_data_set
        ):
            raise wire.WireError("the peer sent a response to no request")
        return message.command


@contextmanager
def requested(node: Node, contexts: Sequence[Context], scp_of: Sequence[str] = ()) -> Iterator[Association]:
    """Open an association with a node (PS3.8 7.1). Release it at the end, or abort it after an error in the block.

    For the SOP classes in `scp_of`, the SCP role is proposed. Raises NodeError if there is no association, ContextsRefused if no
    context is accepted.
    """
    association = negotiated(node, contexts, scp_of)
    try:
        yield association
    except GeneratorExit:
        association.wire.release(node.acse_timeout)
        raise
    except BaseException:
        association.wire.abort()
        raise
    association.wire.release(node.acse_timeout)


def echo(node: Node) -> None:
    """Verify that a node answers (C-ECHO: PS3.4 A, PS3.7 9.1.5). Raises NodeError if the status is not success."""
    with requested(node, [Context(VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,))]) as association:
        (context_id,) = association.contexts.values()
        command: Command = {
            wire.AFFECTED_SOP_CLASS: VERIFICATION.encode(),
            wire.COMMAND_FIELD: wire.C_ECHO_RQ,
            wire.MESSAGE_ID: 1,
            wire.DATA_SET_TYPE: wire.NO_DATA_SET,
        }
        try:
            association.write(context_id, command)
            answer = association.answer(context_id, 1, wire.C_ECHO_RSP)
            status = wire.number(answer, wire.STATUS)
        except wire.WireError as error:
            raise NodeError(node, str(error)) from None
    if status:
        raise NodeError(node, f"answered C-ECHO with status {status:04X}", retry=False)


def negotiated(node: Node, contexts: Sequence[Context], scp_of: Sequence[str] = ()) -> Association:
    """Return an association with a node. The caller must release or abort it. Raises NodeError, ContextsRefused.

    For the SOP classes in `scp_of`, the SCP role is proposed (PS3.7 D.3.3.4). The node need not answer the proposal.
    """
    proposed = {2 * number + 1: context for number, context in enumerate(contexts)}
    request = associate.Request(
        node.ae_title,
        node.calling_ae_title,
        tuple(associate.Proposed(number, each.abstract_syntax, each.transfer_syntaxes) for number, each in proposed.items()),
        node.max_pdu,
        {sop_class: associate.Roles(scu=False, scp=True) for sop_class in scp_of},
    )
    connection = _connected(node)
    try:
        over = wire.Wire(connection, longest=associate.LONGEST, seconds=node.acse_timeout)
        answer = _answer(node, over, request)
        accepted = {
            context.context_id: (proposed[context.context_id].abstract_syntax, context.transfer_syntax)
            for context in answer.contexts
            if context.result == associate.ACCEPTANCE
            and context.context_id in proposed
            and context.transfer_syntax in proposed[context.context_id].transfer_syntaxes
        }
        if not accepted:
            over.abort()
            raise ContextsRefused(node)
    except BaseException:
        connection.close()
        raise
    over.longest, over.seconds = node.max_pdu or LONGEST_PDU, node.dimse_timeout
    longest = LONGEST_DATA_SET if scp_of else LONGEST_IDENTIFIER  # only an SCP receives instances, as for C-GET
    messages = Messages(over, accepted, silence=node.dimse_timeout, longest=longest)
    contexts_by_both = {both: context_id for context_id, both in accepted.items()}
    return Association(node, over, messages, accepted, contexts_by_both, answer.maximum_length)


def _answer(node: Node, over: wire.Wire, request: associate.Request) -> associate.Acceptance:
    """Send a request and return its acceptance. Raises NodeError for any other answer."""
    # A peer that closes at once may have sent the reason first, as in TLS 1.3 if it requires a certificate.
    with suppress(wire.Lost):
        over.write(request.encode())
    try:
        kind, data = over.read_pdu(node.acse_timeout)
        if kind == wire.ASSOCIATE_AC:
            return associate.read_acceptance(data)
        if kind == wire.ASSOCIATE_RJ:
            raise _rejected(node, associate.read_rejection(data))
    except wire.Lost as lost:
        raise _unanswered(node, lost.__cause__) from None
    except wire.NotDICOM as error:
        if error.first == TLS_ALERT:
            raise NodeError(node, "requires TLS", retry=False) from None
        raise NodeError(node, "answers the association request with something that is not DICOM") from None
    except wire.WireError as error:
        over.abort()
        raise NodeError(node, f"the association was aborted here: {error}") from None
    if kind == wire.ABORT:
        raise NodeError(node, "aborts the association instead of answering the request")
    over.abort()
    raise NodeError(node, "the association was aborted here: the peer sent another PDU instead of an answer to the request")


def _rejected(node: Node, answer: associate.Rejection) -> NodeError:
    permanent = answer.result == associate.PERMANENT
    kind = "permanently" if permanent else "for now"
    source = associate.SOURCES.get(answer.source, "unknown source")
    return NodeError(node, f"rejects the association {kind}: {answer.words} ({source})", retry=not permanent)


def _unanswered(node: Node, error: BaseException | None) -> NodeError:
    """Explain a connection that was lost before an answer. `error` is None if the node closed it."""
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return NodeError(node, _tls_words(error), retry=False)
    if isinstance(error, TimeoutError):
        return NodeError(node, f"does not answer the association request within {node.acse_timeout:g} s")
    # In TLS 1.3, a peer that requires a certificate sends its alert after the handshake, and may close before it arrives.
    hint = "TLS" if node.tls is None else "a certificate" if node.tls.certificate is None else "another certificate"
    return NodeError(node, f"closes the connection instead of answering the association request; it may require {hint}")


def _connected(node: Node) -> socket.socket:
    """Connect to a node, with TLS if the node has it. Raises NodeError."""
    context = None if node.tls is None else ssl_context(node, node.tls)
    try:
        connection = socket.create_connection((node.host, node.port), node.connect_timeout)
    except socket.gaierror:
        raise NodeError(node, "unknown host") from None
    except TimeoutError:
        raise NodeError(node, f"no connection within {node.connect_timeout:g} s") from None
    except ConnectionRefusedError:
        raise NodeError(node, "refuses the connection") from None
    except OSError as error:
        raise NodeError(node, f"cannot be reached: {error.strerror or 'unknown reason'}") from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is None or node.tls is None:
        return connection
    try:
        return context.wrap_socket(connection, server_hostname=node.tls.host_name)
    except TimeoutError:
        raise NodeError(node, f"did not complete the TLS handshake within {node.connect_timeout:g} s") from None
    except OSError as error:
        raise NodeError(node, _tls_words(error), retry=False) from None
    finally:
        # wrap_socket() detached the socket, unless it failed.
        connection.close()


def _tls_words(error: OSError) -> str:
    """Explain a failed TLS handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        match error.verify_code:
            case code if code in UNKNOWN_ISSUER:
                return "has a certificate that is not signed by our CA"
            case code if code == EXPIRED:
                return "has an expired certificate"
            case code if code == NOT_YET_VALID:
                return "has a certificate that is not valid yet"
            case code if code in {WRONG_HOST, WRONG_ADDRESS}:
                return "has a certificate of another host"
            case _:
                return f"has an invalid certificate: {error.verify_message}"
    reason = getattr(error, "reason", None) or ""
    if "CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason or "UNKNOWN_CA" in reason:
        return "rejected our certificate, or requires one"
    if "VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason or "UNEXPECTED_MESSAGE" in reason:
        return "does not speak TLS"
    if "PROTOCOL" in reason:
        return "does not speak TLS 1.2 or newer"
    return "ended the TLS handshake; it may not speak TLS"
