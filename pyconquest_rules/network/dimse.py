"""Invoke DIMSE operations (PS3.7 7.5): send a request on an association, and read its responses."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from pyconquest_rules.network import wire
from pyconquest_rules.network.association import Association
from pyconquest_rules.network.limits import (
    LEAST_RATE,
    LONGEST_IDENTIFIER,
    MOST_AFTER_CANCEL,
    MOST_MATCHES,
    MOST_REQUESTS,
    PATIENCE,
    SHARE,
)
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.receiving import Message
from pyconquest_rules.network.statuses import Kind, Status, is_transient, kind, words
from pyconquest_rules.network.storing import response
from pyconquest_rules.network.wire import BeyondLimit, Lost, WireError, number

MESSAGE_ID = 1

UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
"""Explicit and Implicit VR Little Endian."""


class Response(NamedTuple):
    """A response: its status, its command, and its identifier, which is b"" in the final response."""

    status: int
    command: Mapping[int, bytes]
    data_set: bytes


Blocks = Iterator[bytearray | memoryview]

Serve = Callable[[Message, Blocks], int]
"""Handles a request of the peer and its data set. Returns the status to answer. It need not read all blocks."""

Responses = Generator[Response]


def unrecognized(_message: Message, _data_set: Blocks) -> int:
    """Refuse any request of the peer."""
    return Status.UNRECOGNIZED_OPERATION


@dataclass(slots=True)
class _Budget:
    """The responses, requests and waiting time that a peer has left until its final response.

    For each of the `wanted` instances, it may take one more timeout.
    """

    association: Association
    wanted: int
    requests: int
    responses: int = MOST_MATCHES

    def check(self) -> None:
        """Raise BeyondLimit if the peer took too long, on the whole association."""
        came, timeout = self.association.messages, self.association.node.dimse_timeout
        most = timeout * (PATIENCE + came.number * SHARE + self.wanted) + came.received / LEAST_RATE
        if came.waited > most:
            raise BeyondLimit(f"the peer took {came.waited:.3g} s for {came.number:,} messages")

    def request(self) -> None:
        """Count one more request of the peer. Raises BeyondLimit."""
        self.requests -= 1
        if self.requests < 0:
            raise BeyondLimit("the peer sent too many requests of its own")

    def response(self) -> None:
        """Count one more response. Raises BeyondLimit."""
        self.responses -= 1
        if self.responses < 0:
            raise BeyondLimit(f"the peer sent more than {MOST_MATCHES:,} responses to one request; narrow the query")


def performed(
    association: Association,
    context_id: int,
    request: wire.Command,
    data_set: bytes,
    serve: Serve = unrecognized,
    *,
    wanted: int = 0,
    requests: int = MOST_REQUESTS,
) -> Responses:
    """Send a request and yield its responses. Only the last is not pending. Closing the iterator early cancels (PS3.7 9.3.2.3).

    `request` lacks message ID and data set type. `serve` handles up to `requests` requests of the peer meanwhile, in this thread;
    an exception from it ends the operation. `wanted` is the number of expected instances; the time limit grows with it.
    Raises NodeError if the association is lost, or if the peer breaks the protocol or exceeds a limit.
    """
    budget = _Budget(association, wanted, requests)
    has_data_set = wire.HAS_DATA_SET if data_set else wire.NO_DATA_SET
    command = {**request, wire.MESSAGE_ID: MESSAGE_ID, wire.DATA_SET_TYPE: has_data_set}
    with _in_words(association.node):
        association.write(context_id, command, data_set)
    while True:
        with _in_words(association.node):
            answer = _response(association, context_id, request, serve, budget)
        pending = kind(answer.status) is Kind.PENDING
        try:
            yield answer
        except GeneratorExit:
            if pending:
                _cancel(association, context_id, request, budget)
            raise
        if not pending:
            return


def _response(association: Association, context_id: int, request: wire.Command, serve: Serve, budget: _Budget) -> Response:
    """Read the next response to a request. Raises WireError."""
    messages = association.messages
    while (message := messages.command()) is not None:
        budget.check()
        if not message.kind & wire.RESPONSE:
            budget.request()
            _served(association, message, serve)
            continue
        budget.response()
        told = message.context_id, message.kind, number(message.command, wire.MESSAGE_ID_RESPONDED)
        if told != (context_id, int(request[wire.COMMAND_FIELD]) | wire.RESPONSE, MESSAGE_ID):
            raise WireError("the peer sent a response to no request")
        status = number(message.command, wire.STATUS)
        pending = kind(status) is Kind.PENDING
        data_set = identifier(messages.data_set(context_id)) if pending and message.has_data_set else b""
        return Response(status, message.command, data_set)
    raise Lost("the peer ended the association")


def _served(association: Association, message: Message, serve: Serve) -> None:
    """Answer a request of the peer, and read all of its data set."""
    if message.kind == wire.C_CANCEL_RQ:
        return
    data_set = association.messages.data_set(message.context_id) if message.has_data_set else iter(())
    status = serve(message, data_set)
    for _ in data_set:
        pass
    association.wire.write(wire.message(message.context_id, response(message, status), association.maximum_length))


def identifier(blocks: Blocks, longest: int = LONGEST_IDENTIFIER) -> bytes:
    """Read a small data set. Raises BeyondLimit if it has more than `longest` bytes."""
    data = bytearray()
    for block in blocks:
        if len(data) + len(block) > longest:
            raise BeyondLimit(f"the peer sent an identifier of more than {longest:,} bytes")
        data += block
    return bytes(data)


def _cancel(association: Association, context_id: int, request: wire.Command, budget: _Budget) -> None:
    """Send C-CANCEL (PS3.7 9.3.2.3), and read until the final response, for one DIMSE timeout at most."""
    command = {wire.COMMAND_FIELD: wire.C_CANCEL_RQ, wire.MESSAGE_ID_RESPONDED: MESSAGE_ID, wire.DATA_SET_TYPE: wire.NO_DATA_SET}
    end = time.monotonic() + association.node.dimse_timeout
    budget.responses = min(budget.responses, MOST_AFTER_CANCEL)
    try:
        association.write(context_id, command)
        while time.monotonic() < end:
            if kind(_response(association, context_id, request, unrecognized, budget).status) is not Kind.PENDING:
                return
    except WireError:  # nobody needs the rest
        pass


@contextmanager
def _in_words(node: Node) -> Iterator[None]:
    """Turn errors of the wire into errors of a node. The text tells an abort here from one by the node."""
    try:
        yield
    except Lost as error:
        raise NodeError(node, f"the association was lost, or no answer came in time: {error}") from None
    except WireError as error:
        retry = not isinstance(error, BeyondLimit)
        raise NodeError(node, f"the association was aborted here: {error}", retry=retry) from None


def refusal(node: Node, service: str, status: int, of_service: Mapping[int, str]) -> NodeError:
    """Return the error for a failed status. Error Comment (0000,0902) is left out: it may contain patient data."""
    return NodeError(node, f"answers {service} with 0x{status:04X}: {words(status, of_service)}", retry=is_transient(status))
