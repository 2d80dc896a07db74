"""PDUs and DIMSE messages as bytes (PS3.8 9.3, PS3.7 6.3): a message is a few large writes or reads."""

import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 1, 2, 3, 4, 5, 6, 7

HEAD, ITEM = struct.Struct(">BxI"), struct.Struct(">IBB")
COMMAND, LAST = 1, 2
"""Bits of a message control header (PS3.8 E.2): the fragment is of a command, and the last one of it or of a data set."""

# Of a Command Set (PS3.7 E): always implicit VR little endian.
AFFECTED_SOP_CLASS, COMMAND_FIELD, MESSAGE_ID, MESSAGE_ID_RESPONDED = 0x0002, 0x0100, 0x0110, 0x0120
PRIORITY, DATA_SET_TYPE, STATUS, AFFECTED_SOP_INSTANCE = 0x0700, 0x0800, 0x0900, 0x1000
REQUESTED_SOP_CLASS, MOVE_DESTINATION, REQUESTED_SOP_INSTANCE = 0x0003, 0x0600, 0x1001
EVENT_TYPE, ACTION_TYPE, REMAINING, COMPLETED, FAILED, WARNING = 0x1002, 0x1008, 0x1020, 0x1021, 0x1022, 0x1023
C_STORE_RQ, C_STORE_RSP, C_ECHO_RQ, C_ECHO_RSP, C_CANCEL_RQ = 0x0001, 0x8001, 0x0030, 0x8030, 0x0FFF
C_GET_RQ, C_FIND_RQ, C_MOVE_RQ, N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0010, 0x0020, 0x0021, 0x0100, 0x0130
RESPONSE = 0x8000
"""The bit of a Command Field that makes it a response (PS3.7 E.1-1)."""
NO_DATA_SET, HAS_DATA_SET = 0x0101, 0x0001

# A fragment is not longer than this, whatever the peer would take.
LONGEST_FRAGMENT = 1 << 20

# How much is received at once in the beginning; more as PDUs turn out to be longer.
RECEIVED_AT_ONCE = 1 << 16
# From here on a PDU is gathered by itself, so that the buffer does not become twice as large as the longest one.
LARGE_PDU = 1 << 20


class WireError(Exception):
    """The peer broke the protocol or went away. The text holds nothing that the peer sent."""


class BeyondLimit(WireError):
    """The peer goes beyond a limit of `limits`. The same would come again: it is not tried again."""


class Lost(WireError):
    """The connection is gone, or the peer is silent beyond a deadline."""


class NotDICOM(WireError):
    """The peer does not speak this protocol: `first` is the first byte that came where a PDU should begin."""

    def __init__(self, first: int) -> None:
        super().__init__("the peer sent something that is no PDU")
        self.first = first


class Fragment(NamedTuple):
    """A presentation data value: of which presentation context, its bits, and its bytes."""

    context_id: int
    control: int
    data: memoryview


Command = Mapping[int, bytes | int]


def command_set(elements: Command) -> bytes:
    """The bytes of a Command Set. Texts (UI, AE, LO) are bytes, numbers (US) are int; elements in the order of their tags."""
    body = b"".join(_element(number, value) for number, value in sorted(elements.items()))
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _element(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return struct.pack("<HHIH", 0, number, 2, value)
    return struct.pack("<HHI", 0, number, len(value) + len(value) % 2) + value + b"\0" * (len(value) % 2)


def parsed(command: bytes) -> dict[int, bytes]:
    """The elements of a Command Set by their numbers, without padding at their ends. Raises WireError.

    Elements of other groups are skipped: Orthanc puts a Failed SOP Instance UID List (0008,0058) there.
    """
    found, position = {}, 0
    while position < len(command):
        try:
            group, number, length = struct.unpack_from("<HHI", command, position)
        except struct.error:
            raise WireError("the peer sent a command that ends too early") from None
        position += 8 + length
        if position > len(command):
            raise WireError("the peer sent a command that ends too early")
        if group != 0:
            continue
        found[number] = command[position - length : position].rstrip(b" \0") if length != 2 else command[position - 2 : position]
    return found


def number(command: Mapping[int, bytes], element: int) -> int:
    """A US of a Command Set. Raises WireError where it is missing."""
    value = command.get(element, b"")
    if len(value) != 2:
        raise WireError("the peer sent a command without an element that it must have")
    return int.from_bytes(value, "little")


def p_data(context_id: int, control: int, data: bytes | memoryview) -> bytes:
    """The head of a P-DATA-TF PDU with one fragment, which follows it."""
    return HEAD.pack(P_DATA, len(data) + 6) + ITEM.pack(len(data) + 2, context_id, control)


def longest_fragment(maximum_length: int) -> int:
    """How many bytes of a message a PDU takes, where the peer receives PDUs of `maximum_length`; 0 is any (PS3.8 D.1).

    An even number, for a fragment is of one (PS3.8 E.1).
    """
    return min(maximum_length - 6, LONGEST_FRAGMENT) & ~1 if maximum_length > 7 else LONGEST_FRAGMENT


def message(context_id: int, command: bytes, maximum_length: int, data_set: bytes = b"") -> bytes:
    """A command, and the data set that follows it if there is one, as PDUs."""
    size, parts = longest_fragment(maximum_length), list[bytes]()
    for control, data in ((COMMAND, command), (0, data_set)):
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            parts += [p_data(context_id, control | (LAST if start + size >= len(data) else 0), piece), piece]
    return b"".join(parts)


def fragments(data: memoryview) -> Iterator[Fragment]:
    """The fragments that the content of a P-DATA-TF PDU holds (PS3.8 9.3.5). Raises WireError."""
    position = 0
    if not data:
        raise WireError("the peer sent a P-DATA-TF PDU without a fragment")
    while position < len(data):
        if position + ITEM.size > len(data):
            raise WireError("the peer sent a PDU that cannot be read")
        length, context_id, control = ITEM.unpack_from(data, position)
        end = position + 4 + length
        if length < 2 or end > len(data):
            raise WireError("the peer sent a PDU that cannot be read")
        yield Fragment(context_id, control, data[position + ITEM.size : end])
        position = end


class Wire:
    """A connection on which PDUs are exchanged. Every read has a deadline that holds within a PDU too.

    `longest` is the longest PDU that is received, in bytes; `seconds` how long a whole PDU may take.
    """

    def __init__(self, connection: socket.socket, *, longest: int, seconds: float) -> None:
        self.connection, self.longest, self.seconds = connection, longest, seconds
        # What was received and not read yet is from `_start` to `_end`.
        self._buffer, self._start, self._end = bytearray(RECEIVED_AT_ONCE), 0, 0

    def read_pdu(self, wait: float) -> tuple[int, memoryview]:
        """The type and the content of the next PDU, which must begin within `wait` seconds. Raises Lost, WireError."""
        head = self._exactly(HEAD.size, wait, self.seconds)
        kind, length = HEAD.unpack(head)
        if not ASSOCIATE_RQ <= kind <= ABORT:
            raise NotDICOM(kind)
        if length > self.longest:
            raise WireError(f"the peer sent a PDU that is longer than was agreed ({self.longest:,} bytes)")
        if length > LARGE_PDU:
            return kind, memoryview(self._large(length))
        return kind, memoryview(self._exactly(length, self.seconds, self.seconds))

    def fragments(self, wait: float) -> Iterator[Fragment]:
        """The fragments of the next P-DATA-TF PDU; none for A-RELEASE-RQ. Raises Lost for an abort, WireError for all else."""
        kind, data = self.read_pdu(wait)
        if kind == RELEASE_RQ:
            return
        if kind == ABORT:
            raise Lost("the peer aborted the association")
        if kind != P_DATA:
            raise WireError("the peer sent a PDU that has no place here")
        yield from fragments(data)

    def write(self, *parts: bytes | memoryview) -> None:
        """Sends all parts. Raises Lost."""
        try:
            self.connection.settimeout(self.seconds)
            for part in parts:
                self.connection.sendall(part)
        except OSError as error:
            raise Lost("the connection was lost") from error

    def write_file(self, descriptor: int, offset: int, length: int) -> None:
        """Sends bytes of a file without reading them, where there is no TLS. Raises Lost; EOFError where the file ends."""
        end = time.monotonic() + self.seconds
        self.connection.settimeout(self.seconds)
        try:
            while length:
                try:
                    sent = os.sendfile(self.connection.fileno(), descriptor, offset, length)
                except BlockingIOError:
                    ready = select.poll()
                    ready.register(self.connection, select.POLLOUT)
                    if not ready.poll(max(end - time.monotonic(), 0) * 1000):
                        raise TimeoutError from None
                    continue
                if not sent:
                    raise EOFError
                offset, length = offset + sent, length - sent
        except OSError:
            raise Lost("the connection was lost") from None

    def is_ready(self, wait: float) -> bool:
        """Whether something came, or the connection ended, within `wait` seconds."""
        if self._end > self._start or (isinstance(self.connection, ssl.SSLSocket) and self.connection.pending()):
            return True
        waiting = select.poll()
        waiting.register(self.connection, select.POLLIN)
        return bool(waiting.poll(wait * 1000))

    def release(self, wait: float) -> None:
        """Ends the association (PS3.8 7.2). What goes wrong with that does no harm any more."""
        end = time.monotonic() + wait
        try:
            self.write(HEAD.pack(RELEASE_RQ, 4) + bytes(4))
            while self.read_pdu(end - time.monotonic())[0] == P_DATA and time.monotonic() < end:
                pass
        except WireError:
            pass
        finally:
            self.close()

    def abort(self) -> None:
        """Breaks the association off (PS3.8 9.3.8), as the service user."""
        try:
            self.write(HEAD.pack(ABORT, 4) + bytes(4))
        except WireError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Closes the connection."""
        self.connection.close()

    def _large(self, length: int) -> bytearray:
        """So many bytes within the deadline, piece by piece: in memory is what came, not what was claimed."""
        data, end = bytearray(), time.monotonic() + self.seconds
        while missing := length - len(data):
            left = end - time.monotonic()
            data += self._exactly(min(missing, LARGE_PDU), left, left)
        return data

    def _exactly(self, length: int, wait: float, seconds: float) -> bytes:
        """So many bytes, of which the first come within `wait` and the last within `seconds` after that."""
        end, started = time.monotonic() + wait, self._end > self._start
        while self._end - self._start < length:
            left = end - time.monotonic()
            try:
                if left <= 0:
                    raise TimeoutError
                self.connection.settimeout(left)
                received = self.connection.recv_into(self._room())
            except TimeoutError as error:
                raise Lost("the peer is silent") from error
            except OSError as error:
                raise Lost("the connection was lost") from error
            if not received:
                raise Lost("the peer closed the connection")
            self._end += received
            if not started:
                started, end = True, time.monotonic() + seconds
        data = bytes(memoryview(self._buffer)[self._start : self._start + length])
        self._start += length
        return data

    def _room(self) -> memoryview:
        """Where the next bytes go. The buffer grows by what came, not by what was claimed."""
        if self._start:
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        if self._end == len(self._buffer):
            self._buffer += bytes(len(self._buffer))
        return memoryview(self._buffer)[self._end :]
