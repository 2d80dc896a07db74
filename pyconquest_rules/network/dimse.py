"""DIMSE operations that we invoke (PS3.7 7.5): a request goes out on an association of ours, its responses come in."""

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
    """A response: its status, its command, and its identifier, which is b"" for the final one."""

    status: int
    command: Mapping[int, bytes]
    data_set: bytes


Blocks = Iterator[bytearray | memoryview]

Serve = Callable[[Message, Blocks], int]
"""Does what a request of the peer wants, which has this data set, and returns the status to answer. Need not read all of it."""

Responses = Generator[Response]


def unrecognized(_message: Message, _data_set: Blocks) -> int:
    """The answer to requests of a peer of which none was expected."""
    return Status.UNRECOGNIZED_OPERATION


@dataclass(slots=True)
class _Budget:
    """What a peer may still do until the final response: so many responses and requests, and have itself waited for.

    `wanted`: so many instances may take a whole timeout each.
    """

    association: Association
    wanted: int
    requests: int
    responses: int = MOST_MATCHES

    def check(self) -> None:
        """Raises BeyondLimit if the peer was waited for too long, on the whole association."""
        came, timeout = self.association.messages, self.association.node.dimse_timeout
        most = timeout * (PATIENCE + came.number * SHARE + self.wanted) + came.received / LEAST_RATE
        if came.waited > most:
            raise BeyondLimit(f"the peer was waited for during {came.waited:.3g} s for {came.number:,} messages")

    def request(self) -> None:
        """One more request of the peer. Raises BeyondLimit."""
        self.requests -= 1
        if self.requests < 0:
            raise BeyondLimit("the peer sent too many requests of its own")

    def response(self) -> None:
        """One more response. Raises BeyondLimit."""
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
    """The responses to a request, the last of which is not pending. Closing the iterator early cancels (PS3.7 9.3.2.3).

    `request` lacks message ID and data set type. What the peer requests meanwhile, at most `requests` times, is left to `serve`,
    in this thread; what that raises ends all. `wanted` is the number of instances that are waited for.
    Raises NodeError if the association is lost, if the peer breaks the protocol, or if it goes beyond a limit.
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
    """The next response to a request. Raises WireError."""
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
            raise WireError("the peer answered something that was not asked")
        status = number(message.command, wire.STATUS)
        pending = kind(status) is Kind.PENDING
        data_set = identifier(messages.data_set(context_id)) if pending and message.has_data_set else b""
        return Response(status, message.command, data_set)
    raise Lost("the peer ended the association")


def _served(association: Association, message: Message, serve: Serve) -> None:
    """Answers a request of the peer; all of its data set is read."""
    if message.kind == wire.C_CANCEL_RQ:
        return
    data_set = association.messages.data_set(message.context_id) if message.has_data_set else iter(())
    status = serve(message, data_set)
    for _ in data_set:
        pass
    association.wire.write(wire.message(message.context_id, response(message, status), association.maximum_length))


def identifier(blocks: Blocks, longest: int = LONGEST_IDENTIFIER) -> bytes:
    """A data set that is small, whole. Raises WireError."""
    data = bytearray()
    for block in blocks:
        if len(data) + len(block) > longest:
            raise BeyondLimit(f"the peer sent an identifier of more than {longest:,} bytes")
        data += block
    return bytes(data)


def _cancel(association: Association, context_id: int, request: wire.Command, budget: _Budget) -> None:
    """C-CANCEL (PS3.7 9.3.2.3). The node may take some time to stop, but not more than for an answer."""
    command = {wire.COMMAND_FIELD: wire.C_CANCEL_RQ, wire.MESSAGE_ID_RESPONDED: MESSAGE_ID, wire.DATA_SET_TYPE: wire.NO_DATA_SET}
    end = time.monotonic() + association.node.dimse_timeout
    budget.responses = min(budget.responses, MOST_AFTER_CANCEL)
    try:
        association.write(context_id, command)
        while time.monotonic() < end:
            if kind(_response(association, context_id, request, unrecognized, budget).status) is not Kind.PENDING:
                return
    except WireError:  # nobody waits for more
        pass


@contextmanager
def _in_words(node: Node) -> Iterator[None]:
    """Turns what goes wrong on the wire into errors of a node. What the peer did not do is not said to be its deed."""
    try:
        yield
    except Lost as error:
        raise NodeError(node, f"the association was lost, or no answer came in time: {error}") from None
    except WireError as error:
        retry = not isinstance(error, BeyondLimit)
        raise NodeError(node, f"the association was aborted here: {error}", retry=retry) from None


def refusal(node: Node, service: str, status: int, of_service: Mapping[int, str]) -> NodeError:
    """An answer that is neither success nor pending. Error Comment (0000,0902) is left out: it may name a patient."""
    return NodeError(node, f"answers {service} with 0x{status:04X}: {words(status, of_service)}", retry=is_transient(status))
