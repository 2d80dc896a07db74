"""C-STORE, the sending half (PS3.4 B, PS3.7 9.1.1): files go to a node as they are."""

import os
import re
import ssl
import stat
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from pyconquest_rules.network import wire
from pyconquest_rules.network.association import MOST_CONTEXTS, Association, Context, ContextsRefused, batches, negotiated
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.statuses import STORE, is_stored, words

EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
# All that the Standard has but Implicit VR Little Endian itself.
EXPLICIT = "1.2.840.10008.1.2."
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}

UID = re.compile(r"[0-9.]{1,64}")
LONGEST_UID = 64  # characters (PS3.5 9.1)

SOP_CLASS, SOP_INSTANCE = 0x00080016, 0x00080018
META_SOP_CLASS, META_TRANSFER_SYNTAX = 0x00020002, 0x00020010

# VRs with a length of four bytes (PS3.5 7.1.2).
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}

# Within so many bytes a file tells what it is.
HEAD = 1 << 16
# What is read and written at once.
BLOCK = 1 << 18
# Fragments from which on the system moves them, without a copy in our memory.
LARGE = 262144
# So many associations in a row may be lost before they got an answer.
MOST_LOST = 3

CHANGED = "the file changed: it is not the instance that was to be sent"
REFUSED = "the node refuses the SOP class in this transfer syntax"


@dataclass(frozen=True, slots=True)
class Instance:
    """A file that is to be sent. What it does not tell of SOP class and transfer syntax is read from the file."""

    path: bytes
    SOPInstanceUID: str
    SOPClassUID: str | None = None
    TransferSyntaxUID: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of an instance. `status` is the peer's answer (PS3.4 B.2.3, PS3.7 C), None where there was none.

    `retry`: whether it may go well later. `message` says what is not as it should be, of a warning too.
    """

    SOPInstanceUID: str
    status: int | None
    retry: bool = False
    message: str | None = None

    @property
    def stored(self) -> bool:
        """Whether the peer has it: success or a warning (PS3.7 C.2 and C.4)."""
        return self.status is not None and is_stored(self.status)


def send(node: Node, instances: Iterable[Instance], *, max_rate: float | None = None) -> Iterator[tuple[Instance, Sent]]:
    """Sends instances, as a `Sender` does that is used once."""
    with Sender(node, max_rate=max_rate) as sender:
        yield from sender.send(instances)


class Sender:
    """Sends to a node, over one association at a time, which stays for the next batch if that has no other contexts.

    A context manager. `max_rate` is in bytes a second.
    """

    def __init__(self, node: Node, *, max_rate: float | None = None) -> None:
        self.node, self._throttle, self._messages = node, _Throttle(max_rate), count()
        self._proposed: dict[Context, None] = {}
        self._association: Association | None = None

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_associated(self) -> bool:
        """Whether there is an association now."""
        return self._association is not None

    def release(self) -> None:
        """Ends the association, if there is one."""
        if self._association is not None:
            self._association.wire.release(self.node.acse_timeout)
            self._association = None

    def send(self, instances: Iterable[Instance]) -> Iterator[tuple[Instance, Sent]]:
        """Sends a batch of instances, and gives what became of each as soon as it is known.

        The presentation contexts are those of the batch, which is held in memory. Where an association is lost, the instance
        that was under way may be tried again later, and those after it go on over a new one. Raises NodeError where no
        association comes about, or several in a row are lost before an answer; what was not told of till then was not sent.
        """
        ready = list[tuple[Instance, Context]]()
        for instance in instances:
            try:
                ready.append((instance, _context(instance)))
            except _Unfit as unfit:
                yield instance, _not_sent(instance, str(unfit))
        for contexts in batches(list(dict.fromkeys(context for _, context in ready))):
            among = set(contexts)
            try:
                yield from self._delivered(contexts, [each for each in ready if each[1] in among])
            except BaseException:
                self._break_off()
                raise

    def _delivered(
        self, contexts: Sequence[Context], instances: Sequence[tuple[Instance, Context]]
    ) -> Iterator[tuple[Instance, Sent]]:
        """What became of instances whose contexts one association can propose."""
        at, lost = 0, 0
        while at < len(instances):
            instance, context = instances[at]
            try:
                association = self._associated(contexts)
                sent = _stored(association, next(self._messages) % 0xFFFF + 1, instance, context, self._throttle)
            except ContextsRefused:
                yield from ((instance, _not_sent(instance, REFUSED)) for instance, _ in instances[at:])
                return
            except _Unfit as unfit:
                sent = _not_sent(instance, str(unfit))
            except _Changed:
                self._break_off()
                sent = _not_sent(instance, "the file changed while it was sent")
            except wire.WireError as error:
                self._break_off()
                at, lost = at + 1, lost + 1
                yield instance, _not_sent(instance, str(error), retry=True)
                if lost == MOST_LOST and at < len(instances):
                    raise NodeError(self.node, f"{lost} associations in a row were lost before an answer: {error}") from None
                continue
            at, lost = at + 1, 0
            yield instance, sent

    def _associated(self, contexts: Sequence[Context]) -> Association:
        """An association on which these contexts are proposed."""
        if self._association is None or not self._proposed.keys() >= set(contexts):
            self.release()
            both = dict.fromkeys([*self._proposed, *contexts])
            self._proposed = both if len(both) <= MOST_CONTEXTS else dict.fromkeys(contexts)
            self._association = negotiated(self.node, [*self._proposed])
        return self._association

    def _break_off(self) -> None:
        if self._association is not None:
            self._association.wire.abort()
            self._association = None


class _Unfit(Exception):
    """A file cannot be sent, as nothing of it was yet. The text says why."""


class _Changed(Exception):
    """A file is not what it was when its first bytes were sent: the message cannot be ended any more."""


def _not_sent(instance: Instance, message: str, *, retry: bool = False) -> Sent:
    return Sent(instance.SOPInstanceUID, None, retry, message)


def _stored(association: Association, message_id: int, instance: Instance, context: Context, throttle: "_Throttle") -> Sent:
    """One C-STORE (PS3.7 9.1.1). Raises _Unfit before a byte is sent, later _Changed and WireError, after which all is lost."""
    syntax, uid = context.transfer_syntaxes[0], instance.SOPInstanceUID.encode()
    context_id = association.contexts.get((context.abstract_syntax, syntax))
    if context_id is None:
        return _not_sent(instance, REFUSED)
    command: wire.Command = {
        wire.AFFECTED_SOP_CLASS: context.abstract_syntax.encode(),
        wire.COMMAND_FIELD: wire.C_STORE_RQ,
        wire.MESSAGE_ID: message_id,
        wire.PRIORITY: 0,
        wire.DATA_SET_TYPE: wire.HAS_DATA_SET,
        wire.AFFECTED_SOP_INSTANCE: uid,
    }
    with _opened(instance) as file:
        if (file.sop_class, file.syntax) != (context.abstract_syntax, syntax):
            raise _Unfit(CHANGED)
        _write(association, context_id, wire.command_set(command), file, throttle)
        answer = association.answer(context_id, message_id, wire.C_STORE_RSP)
        # What the system sends may be of the file as it is by then, not as it was when we asked for that.
        file.check()
    if (answer.get(wire.AFFECTED_SOP_INSTANCE) or uid) != uid:
        raise wire.WireError("the peer answered for another instance")
    status = wire.number(answer, wire.STATUS)
    return Sent(instance.SOPInstanceUID, status, status >> 8 == 0xA7 or status == 0x0213, _words(status))


def _words(status: int) -> str | None:
    return f"{words(status, STORE)} ({status:04X})" if status else None


@dataclass(frozen=True, slots=True)
class _File:
    """An open file: where its data set begins and how long that is, and what the file says it is."""

    descriptor: int
    start: int
    size: int
    changed: int
    sop_class: str
    syntax: str

    def check(self) -> None:
        """Raises _Changed where the file is not as it was when it was opened."""
        now = os.fstat(self.descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.start + self.size, self.changed):
            raise _Changed

    def read(self, offset: int, length: int) -> memoryview:
        """Bytes of the data set. Raises _Changed where they are not there, or where the file is not as it was."""
        try:
            data = os.pread(self.descriptor, length, self.start + offset)
        except OSError:
            raise _Changed from None
        self.check()
        if len(data) != length:
            raise _Changed
        return memoryview(data)


@contextmanager
def _opened(instance: Instance) -> Iterator[_File]:
    """The file of an instance. Raises _Unfit where there is none, or it is not that instance."""
    try:
        # A pipe by that name must not stop the batch.
        descriptor = os.open(instance.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise _Unfit("the file is gone") from None
    except (OSError, ValueError):
        raise _Unfit("the file cannot be read") from None
    try:
        yield _read(descriptor, instance)
    finally:
        os.close(descriptor)


def _read(descriptor: int, instance: Instance) -> _File:
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise _Unfit("is no file")
    try:
        head = os.pread(descriptor, HEAD, 0)
    except OSError:
        raise _Unfit("the file cannot be read") from None
    preamble = head[128:132] == b"DICM"
    start, meta = 132 if preamble else 0, dict[int, str]()
    for tag, value, end in _elements(head, start):
        if tag >> 16 != 2:
            break
        start, meta[tag] = end, _text(value)
    syntax = meta.get(META_TRANSFER_SYNTAX) or (
        EXPLICIT_VR_LITTLE_ENDIAN if _explicit(head, start) else IMPLICIT_VR_LITTLE_ENDIAN
    )
    found = _identity(head[start:], syntax)
    if not preamble and SOP_INSTANCE not in found:
        raise _Unfit("no DICOM file")
    sop_class = found.get(SOP_CLASS) or meta.get(META_SOP_CLASS, "")
    told = (instance.SOPInstanceUID, instance.SOPClassUID or sop_class, instance.TransferSyntaxUID or syntax)
    if told != (found.get(SOP_INSTANCE) or instance.SOPInstanceUID, sop_class, syntax):
        raise _Unfit(CHANGED)
    if start >= facts.st_size:
        raise _Unfit("the file has no data set")
    if syntax.startswith(EXPLICIT) and syntax not in DEFLATED and not _explicit(head, start):
        # A peer waits for the end of an element that there is not, or takes one thing for another.
        raise _Unfit("the data set is not encoded as its transfer syntax says: it has no explicit VRs")
    if (facts.st_size - start) % 2 and syntax not in DEFLATED:
        # Fragments are of even length (PS3.8 E.1); a peer that is sent another one aborts the association.
        raise _Unfit("the data set has an odd number of bytes, which cannot be sent")
    return _File(descriptor, start, facts.st_size - start, facts.st_mtime_ns, sop_class, syntax)


def _context(instance: Instance) -> Context:
    """In what an instance goes: its SOP class, in the transfer syntax that it has. Raises _Unfit where that is unknown."""
    sop_class, syntax = instance.SOPClassUID, instance.TransferSyntaxUID
    if not sop_class or not syntax:
        with _opened(instance) as file:
            sop_class, syntax = file.sop_class, file.syntax
    for uid, what in ((sop_class, "SOP Class"), (syntax, "Transfer Syntax"), (instance.SOPInstanceUID, "SOP Instance")):
        if len(uid) > LONGEST_UID:
            raise _Unfit(f"its {what} UID has {len(uid)} characters, more than the {LONGEST_UID} that a UID may have")
        if not UID.fullmatch(uid):
            raise _Unfit(f"the file has no valid {what} UID")
    return Context(sop_class, (syntax,))


def _identity(data: bytes, syntax: str) -> dict[int, str]:
    """The SOP Class and Instance UIDs of a data set, where they can be seen at its beginning."""
    if syntax in DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, HEAD)
        except zlib.error:
            return {}
    found = dict[int, str]()
    for tag, value, _ in _elements(data, 0, ">" if syntax == EXPLICIT_VR_BIG_ENDIAN else "<"):
        if tag > SOP_INSTANCE:
            break
        if tag in {SOP_CLASS, SOP_INSTANCE}:
            found[tag] = _text(value)
    return found


def _elements(data: bytes, position: int, order: str = "<") -> Iterator[tuple[int, bytes, int]]:
    """Tags, values and ends of the elements that are whole in `data`, up to one of undefined length (PS3.5 7.1)."""
    explicit = _explicit(data, position)
    try:
        while True:
            group, number = struct.unpack_from(f"{order}HH", data, position)
            if not explicit:
                value, (length,) = position + 8, struct.unpack_from(f"{order}I", data, position + 4)
            elif data[position + 4 : position + 6] in LONG:
                value, (length,) = position + 12, struct.unpack_from(f"{order}I", data, position + 8)
            else:
                value, (length,) = position + 8, struct.unpack_from(f"{order}H", data, position + 6)
            position = value + length
            if position > len(data):
                return
            yield group << 16 | number, data[value:position], position
    except struct.error:
        return


def _explicit(data: bytes, position: int) -> bool:
    """Whether the element at `position` has a VR: two capital letters, which no sensible length is."""
    return data[position + 4 : position + 6].isalpha() and data[position + 4 : position + 6].isupper()


def _text(value: bytes) -> str:
    return value.strip(b" \0").decode("latin-1")


def _write(association: Association, context_id: int, command: bytes, file: _File, throttle: "_Throttle") -> None:
    """A message as PDUs. Raises _Changed, Lost."""
    over, maximum_length = association.wire, association.maximum_length
    fragment = wire.longest_fragment(maximum_length)
    head = wire.message(context_id, command, maximum_length)
    plain = not isinstance(over.connection, ssl.SSLSocket) and throttle.rate is None
    if plain and fragment >= LARGE and file.size % 2 == 0:
        _write_by_the_system(over, context_id, head, file, fragment)
        return
    for block in _blocks(file, context_id, head, fragment):
        for piece in throttle.pieces(block):
            over.write(piece)


def _write_by_the_system(over: wire.Wire, context_id: int, head: bytes, file: _File, fragment: int) -> None:
    """Data sets in large fragments go from the file to the connection without passing through here."""
    for offset in range(0, file.size, fragment):
        length = min(fragment, file.size - offset)
        last = wire.LAST if offset + length == file.size else 0
        over.write(head + wire.HEAD.pack(wire.P_DATA, length + 6) + wire.ITEM.pack(length + 2, context_id, last))
        for at in range(offset, offset + length, BLOCK):
            file.check()
            try:
                over.write_file(file.descriptor, file.start + at, min(BLOCK, offset + length - at))
            except EOFError:
                raise _Changed from None
        head = b""


def _blocks(file: _File, context_id: int, head: bytes, fragment: int) -> Iterator[bytes]:
    """PDUs, in few large pieces: to copy the bytes once more is cheaper than to write each fragment by itself."""
    step = max(BLOCK // fragment, 1) * fragment
    parts: list[bytes | memoryview] = [head]
    for offset in range(0, file.size, step):
        data = file.read(offset, min(step, file.size - offset))
        for at in range(0, len(data), fragment):
            piece: bytes | memoryview = data[at : at + fragment]
            last = wire.LAST if offset + at + len(piece) == file.size else 0
            if len(piece) % 2:
                # A deflated data set of odd length is padded (PS3.5 A.5).
                piece = bytes(piece) + b"\0"
            parts += [wire.p_data(context_id, last, piece), piece]
        yield b"".join(parts)
        parts.clear()


class _Throttle:
    """Lets bytes through at a rate, in pieces of a tenth of a second; all at once where there is no rate."""

    def __init__(self, rate: float | None) -> None:
        self.rate, self.free = rate, time.monotonic()

    def pieces(self, data: bytes) -> Iterator[bytes | memoryview]:
        """The data, piece by piece, each when its time has come."""
        if self.rate is None:
            yield data
            return
        size = max(int(self.rate / 10), 1)
        for start in range(0, len(data), size):
            piece = memoryview(data)[start : start + size]
            time.sleep(max(self.free - time.monotonic(), 0))
            self.free = max(self.free, time.monotonic()) + len(piece) / self.rate
            yield piece
