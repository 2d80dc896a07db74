"""Encode, write, read and decode PDUs and DIMSE messages (PS3.8 9.3, PS3.7 6.3), in few large reads and writes."""

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
"""Bits of a message control header (PS3.8 E.2): the fragment belongs to a command; it is the last of its command or data set."""

# Elements of a Command Set (PS3.7 E), which is always in implicit VR little endian.
AFFECTED_SOP_CLASS, COMMAND_FIELD, MESSAGE_ID, MESSAGE_ID_RESPONDED = 0x0002, 0x0100, 0x0110, 0x0120
PRIORITY, DATA_SET_TYPE, STATUS, AFFECTED_SOP_INSTANCE = 0x0700, 0x0800, 0x0900, 0x1000
REQUESTED_SOP_CLASS, MOVE_DESTINATION, REQUESTED_SOP_INSTANCE = 0x0003, 0x0600, 0x1001
EVENT_TYPE, ACTION_TYPE, REMAINING, COMPLETED, FAILED, WARNING = 0x1002, 0x1008, 0x1020, 0x1021, 0x1022, 0x1023
C_STORE_RQ, C_STORE_RSP, C_ECHO_RQ, C_ECHO_RSP, C_CANCEL_RQ = 0x0001, 0x8001, 0x0030, 0x8030, 0x0FFF
C_GET_RQ, C_FIND_RQ, C_MOVE_RQ, N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0010, 0x0020, 0x0021, 0x0100, 0x0130
RESPONSE = 0x8000
"""The bit of a Command Field that makes it a response (PS3.7 E.1-1)."""
NO_DATA_SET, HAS_DATA_SET = 0x0101, 0x0001

LONGEST_FRAGMENT = 1 << 20
"""Bytes of the longest fragment that is sent, whatever the peer accepts."""

RECEIVED_AT_ONCE = 1 << 16
"""Bytes of the first receive buffer. It grows with the PDUs."""
LARGE_PDU = 1 << 20
"""Bytes from which a PDU gets its own buffer, so that the receive buffer stays small."""


class WireError(Exception):
    """The peer broke the protocol or closed the connection. The text has nothing that the peer sent."""


class BeyondLimit(WireError):
    """The peer exceeded a limit of `limits`. There is no retry, because it would do so again."""


class Lost(WireError):
    """The connection was lost, or the peer missed a deadline."""


class NotDICOM(WireError):
    """The peer does not speak DICOM. `first` is the first byte of what it sent instead of a PDU."""

    def __init__(self, first: int) -> None:
        super().__init__("the peer sent something that is not a PDU")
        self.first = first


class Fragment(NamedTuple):
    """A presentation data value: its presentation context, its control bits and its bytes."""

    context_id: int
    control: int
    data: memoryview


Command = Mapping[int, bytes | int]


def command_set(elements: Command) -> bytes:
    """Encode a Command Set, in the order of the tags. Text values (UI, AE, LO) are bytes, numbers (US) are int."""
    body = b"".join(_element(number, value) for number, value in sorted(elements.items()))
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _element(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return struct.pack("<HHIH", 0, number, 2, value)
    return struct.pack("<HHI", 0, number, len(value) + len(value) % 2) + value + b"\0" * (len(value) % 2)


def parsed(command: bytes) -> dict[int, bytes]:
    """Decode the elements of a Command Set, by number, without trailing padding. Raises WireError.

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
    """Return a number (US) of a Command Set. Raises WireError if it is missing."""
    value = command.get(element, b"")
    if len(value) != 2:
        raise WireError("the peer sent a command without a required element")
    return int.from_bytes(value, "little")


def p_data(context_id: int, control: int, data: bytes | memoryview) -> bytes:
    """Return the header of a P-DATA-TF PDU with one fragment."""
    return HEAD.pack(P_DATA, len(data) + 6) + ITEM.pack(len(data) + 2, context_id, control)


def longest_fragment(maximum_length: int) -> int:
    """Return the longest fragment for a peer that receives PDUs of `maximum_length`, or of any length if 0 (PS3.8 D.1).

    The number is even, as PS3.8 E.1 requires.
    """
    return min(maximum_length - 6, LONGEST_FRAGMENT) & ~1 if maximum_length > 7 else LONGEST_FRAGMENT


def message(context_id: int, command: bytes, maximum_length: int, data_set: bytes = b"") -> bytes:
    """Encode a command, and the data set that follows it if any, as PDUs."""
    size, parts = longest_fragment(maximum_length), list[bytes]()
    for control, data in ((COMMAND, command), (0, data_set)):
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            parts += [p_data(context_id, control | (LAST if start + size >= len(data) else 0), piece), piece]
    return b"".join(parts)


def fragments(data: memoryview) -> Iterator[Fragment]:
    """Decode the content of a P-DATA-TF PDU (PS3.8 9.3.5). Yield its fragments. Raises WireError."""
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
    """A connection that carries PDUs. Every read has a deadline, also within a PDU.

    `longest` is the longest PDU that is received, in bytes; `seconds` is the time limit of a complete PDU.
    """

    def __init__(self, connection: socket.socket, *, longest: int, seconds: float) -> None:
        self.connection, self.longest, self.seconds = connection, longest, seconds
        # The bytes from `_start` to `_end` are received but not read yet.
        self._buffer, self._start, self._end = bytearray(RECEIVED_AT_ONCE), 0, 0

    def read_pdu(self, wait: float) -> tuple[int, memoryview]:
        """Read the next PDU, which must begin within `wait` seconds. Return its type and content. Raises Lost, WireError."""
        head = self._exactly(HEAD.size, wait, self.seconds)
        kind, length = HEAD.unpack(head)
        if not ASSOCIATE_RQ <= kind <= ABORT:
            raise NotDICOM(kind)
        if length > self.longest:
            raise WireError(f"the peer sent a PDU that is longer than negotiated ({self.longest:,} bytes)")
        if length > LARGE_PDU:
            return kind, memoryview(self._large(length))
        return kind, memoryview(self._exactly(length, self.seconds, self.seconds))

    def fragments(self, wait: float) -> Iterator[Fragment]:
        """Yield the fragments of the next P-DATA-TF PDU; none for A-RELEASE-RQ. Raises Lost after an abort, else WireError."""
        kind, data = self.read_pdu(wait)
        if kind == RELEASE_RQ:
            return
        if kind == ABORT:
            raise Lost("the peer aborted the association")
        if kind != P_DATA:
            raise WireError("the peer sent an unexpected PDU")
        yield from fragments(data)

    def write(self, *parts: bytes | memoryview) -> None:
        """Send all parts. Raises Lost."""
        try:
            self.connection.settimeout(self.seconds)
            for part in parts:
                self.connection.sendall(part)
        except OSError as error:
            raise Lost("the connection was lost") from error

    def write_file(self, descriptor: int, offset: int, length: int) -> None:
        """Send bytes of a file by `sendfile`, which works only without TLS. Raises Lost; EOFError if the file is too short."""
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
        """Return whether data arrived, or the connection ended, within `wait` seconds."""
        if self._end > self._start or (isinstance(self.connection, ssl.SSLSocket) and self.connection.pending()):
            return True
        waiting = select.poll()
        waiting.register(self.connection, select.POLLIN)
        return bool(waiting.poll(wait * 1000))

    def release(self, wait: float) -> None:
        """Release the association (PS3.8 7.2) and close the connection. Errors are ignored."""
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
        """Abort the association (PS3.8 9.3.8) as the service user, and close the connection."""
        try:
            self.write(HEAD.pack(ABORT, 4) + bytes(4))
        except WireError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _large(self, length: int) -> bytearray:
        """Read `length` bytes within the deadline, piece by piece, so that memory grows only with received bytes."""
        data, end = bytearray(), time.monotonic() + self.seconds
        while missing := length - len(data):
            left = end - time.monotonic()
            data += self._exactly(min(missing, LARGE_PDU), left, left)
        return data

    def _exactly(self, length: int, wait: float, seconds: float) -> bytes:
        """Read `length` bytes: the first within `wait` seconds, the last within `seconds` after that."""
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
        """Return the free part of the buffer. It grows only with received bytes."""
        if self._start:
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        if self._end == len(self._buffer):
            self._buffer += bytes(len(self._buffer))
        return memoryview(self._buffer)[self._end :]
