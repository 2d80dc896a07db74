"""Read incoming DIMSE messages (PS3.7 6.3): commands complete, data sets in blocks."""

import time
from collections.abc import Container, Iterator
from typing import NamedTuple

from pyconquest_rules.network.limits import LEAST_RATE, LONGEST_COMMAND, MOST_EMPTY
from pyconquest_rules.network.wire import (
    ABORT,
    COMMAND,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    LAST,
    NO_DATA_SET,
    P_DATA,
    RELEASE_RQ,
    BeyondLimit,
    Fragment,
    Lost,
    Wire,
    WireError,
    fragments,
    number,
    parsed,
)

BLOCK = 1 << 18
LARGE = 1 << 16
"""Bytes from which a fragment is a block of its own."""


class Message(NamedTuple):
    """A received command: its presentation context, its kind (Command Field), its elements, and whether a data set follows."""

    context_id: int
    kind: int
    command: dict[int, bytes]
    has_data_set: bool


class Messages:
    """The incoming messages of an association.

    `contexts` are the accepted presentation contexts. `silence` is the number of seconds before a message must begin; within a
    message, the deadline of the wire holds. `longest` is the maximum number of bytes of a data set.

    So far, `number` messages with `received` bytes arrived, after `waited` seconds of waiting.
    """

    def __init__(self, wire: Wire, contexts: Container[int], *, silence: float, longest: int) -> None:
        self.wire, self.contexts, self.silence, self.longest = wire, contexts, silence, longest
        self._fragments: Iterator[Fragment] = iter(())
        self._unread: int | None = None
        self.number, self.received, self.waited, self._empty = 0, 0, 0.0, 0

    def command(self) -> Message | None:
        """Read the next command. Return None if the peer requests release. Raises WireError.

        An announced data set that was not read is skipped, also if it never arrives.
        """
        fragment = self._after_unread()
        if fragment is None:
            return None
        self.number += 1
        context_id, command, end = fragment.context_id, bytearray(), time.monotonic() + self.wire.seconds
        while True:
            if fragment is None or fragment.context_id != context_id or not fragment.control & COMMAND:
                raise WireError("the peer did not send a complete command")
            command += fragment.data
            if len(command) > LONGEST_COMMAND:
                raise BeyondLimit(f"the peer sent a command of more than {LONGEST_COMMAND:,} bytes")
            if fragment.control & LAST:
                break
            fragment = self._fragment(end - time.monotonic())
        elements = parsed(bytes(command))
        kind, has_data_set = number(elements, COMMAND_FIELD), number(elements, DATA_SET_TYPE) != NO_DATA_SET
        self._unread = context_id if has_data_set else None
        return Message(context_id, kind, elements, has_data_set)

    def _after_unread(self) -> Fragment | None:
        """Read the first fragment of the next command. Return None for A-RELEASE-RQ."""
        self._empty = 0
        fragment, size, began = self._fragment(self.silence), 0, self.waited
        while fragment is not None and fragment.context_id == self._unread and not fragment.control & COMMAND:
            size += len(fragment.data)
            self._check(size, self.waited - began)
            if fragment.control & LAST:
                self._unread = None
            fragment = self._fragment(self.silence)
        return fragment

    def data_set(self, context_id: int) -> Iterator[bytearray | memoryview]:
        """Yield the data set that follows a command, in large blocks. A block is valid until the next one. Raises WireError."""
        block, size, last, began, self._empty = bytearray(), 0, False, self.waited, 0
        while not last:
            fragment = self._fragment(self.wire.seconds)
            if fragment is None or fragment.context_id != context_id or fragment.control & COMMAND:
                raise WireError("the peer did not send a complete data set")
            size += len(fragment.data)
            self._check(size, self.waited - began)
            last = bool(fragment.control & LAST)
            if last:
                self._unread = None
            if not block and len(fragment.data) >= LARGE:
                yield fragment.data
                continue
            block += fragment.data
            if last or len(block) >= BLOCK:
                yield block
                block = bytearray()

    def _check(self, size: int, waited: float) -> None:
        """Raise BeyondLimit if a data set is too long, or arrives too slowly."""
        if size > self.longest:
            raise BeyondLimit(f"the peer sent a data set of more than {self.longest:,} bytes")
        if waited > self.wire.seconds + size / LEAST_RATE:
            raise BeyondLimit(f"the peer sent a data set slower than {LEAST_RATE:,} bytes a second")

    def _fragment(self, wait: float) -> Fragment | None:
        """Read the next fragment. Return None for A-RELEASE-RQ."""
        while (fragment := next(self._fragments, None)) is None:
            began = time.monotonic()
            kind, data = self.wire.read_pdu(wait)
            self.waited += time.monotonic() - began
            if kind == RELEASE_RQ:
                return None
            if kind == ABORT:
                raise Lost("the peer aborted the association")
            if kind != P_DATA:
                raise WireError("the peer sent an unexpected PDU")
            self._fragments = fragments(data)
        if fragment.context_id not in self.contexts:
            raise WireError("the peer used a presentation context that was not accepted")
        self.received += len(fragment.data)
        self._empty += not fragment.data
        if self._empty > MOST_EMPTY:
            raise BeyondLimit(f"the peer sent more than {MOST_EMPTY:,} fragments without a byte in one message")
        return fragment
