"""The SCU of storage (C-STORE: PS3.4 B, PS3.7 9.1.1). Files are sent unchanged, or converted to the other VR encoding."""

import ssl
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from pyconquest_rules.headers.sendable import Runs
from pyconquest_rules.headers.transcoding import Span
from pyconquest_rules.network import wire
from pyconquest_rules.network.association import MOST_CONTEXTS, Association, Context, ContextsRefused, echo, negotiated
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.outgoing import Changed, File, Instance, Outgoing, Unfit, opened, outgoing
from pyconquest_rules.network.statuses import STORE, is_stored, words

BLOCK = 1 << 18
"""Bytes that are read and written at once."""
LARGE = 262144
"""Bytes of a fragment from which `sendfile` is used, without a copy in our memory."""
SUSPICIOUS = 3
"""Lost associations in a row, after which C-ECHO checks whether the node still answers."""
MOST_STALLS = 8
"""Instances in a row without an answer within the DIMSE timeout, after which the batch ends."""
STRIDE = 0.382
"""The part of the batch to skip after lost associations. Instances that a node cannot store are often neighbours."""

REFUSED = "the node refuses the SOP class in this transfer syntax"


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome of one instance. `status` is the peer's answer (PS3.4 B.2.3, PS3.7 C), or None if there was none.

    `retry` is whether it may succeed later. `message` explains a failure or a warning. `tried` is whether its file was read or
    sent; False if there was no association.
    """

    SOPInstanceUID: str
    status: int | None
    retry: bool = False
    message: str | None = None
    tried: bool = True

    @property
    def stored(self) -> bool:
        """Return whether the peer stored it: success or a warning (PS3.7 C.2 and C.4)."""
        return self.status is not None and is_stored(self.status)


class Sender:
    """Sends to a node over one association at a time. A context manager.

    The association stays open for the next batch, unless that needs other contexts. `max_rate` is in bytes a second. With
    `transcode`, an instance in implicit or explicit VR little endian is converted if the node accepts only the other.
    """

    def __init__(self, node: Node, *, max_rate: float | None = None, transcode: bool = True) -> None:
        self.node, self._throttle, self._messages, self._transcode = node, _Throttle(max_rate), count(), transcode
        self._proposed: dict[Context, None] = {}
        self._association: Association | None = None
        self._runs: Runs = {}
        # The instances since the last answer whose association was lost, and those without an answer in time.
        self._losses = self._stalls = 0

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_associated(self) -> bool:
        """Return whether an association is open."""
        return self._association is not None

    def release(self) -> None:
        """Release the association, if one is open."""
        if self._association is not None:
            self._association.wire.release(self.node.acse_timeout)
            self._association = None

    def send(self, instances: Iterable[Instance]) -> Iterator[tuple[Instance, Sent]]:
        """Send a batch of instances once. Yield the outcome of each as soon as it is known.

        The batch is held in memory; its instances determine the presentation contexts. If the association is lost, only the
        current instance fails, with `retry`; the others use a new association. Raises NodeError if there is no association, or
        if the node is dead: it answers neither several instances in a row nor C-ECHO, or none of MOST_STALLS instances in time.
        Instances without an outcome by then were not sent.
        """
        ready = list[Outgoing]()
        for instance in instances:
            try:
                ready.append(outgoing(instance, self._runs, transcode=self._transcode))
            except Unfit as unfit:
                yield instance, _not_sent(instance, str(unfit))
        for contexts, some in _batches(ready):
            try:
                yield from self._delivered(contexts, some)
            except BaseException:
                self._break_off()
                raise

    def _delivered(self, contexts: Sequence[Context], some: Sequence[Outgoing]) -> Iterator[tuple[Instance, Sent]]:
        """Yield the outcomes of instances whose contexts fit on one association."""
        waiting = deque(some)
        while waiting:
            if self._losses >= SUSPICIOUS:
                self._check_alive()
                waiting.rotate(-round(len(waiting) * STRIDE))
            each = waiting.popleft()
            instance, began = each.instance, time.monotonic()
            try:
                association = self._associated(contexts)
                began = time.monotonic()
                sent = _stored(association, next(self._messages) % 0xFFFF + 1, each, self._throttle)
            except ContextsRefused:
                yield from ((one.instance, _not_sent(one.instance, REFUSED)) for one in (each, *waiting))
                return
            except Unfit as unfit:
                sent = _not_sent(instance, str(unfit))
            except Changed:
                self._break_off()
                sent = _not_sent(instance, "the file changed while it was sent")
            except wire.WireError as error:
                self._break_off()
                self._losses += 1
                self._stalls += time.monotonic() - began >= self.node.dimse_timeout
                sent = _not_sent(instance, str(error), retry=True)
            if sent.status is not None:
                self._losses = self._stalls = 0
            yield instance, sent

    def _check_alive(self) -> None:
        """Raise NodeError if the node seems dead. Any answer to C-ECHO counts, also a refusal."""
        if self._stalls >= MOST_STALLS:
            self._losses = self._stalls = 0
            raise NodeError(self.node, f"did not answer {MOST_STALLS} instances in a row in time", retry=False)
        try:
            echo(self.node)
        except NodeError as dead:
            if dead.retry:
                what = f"{self._losses} associations in a row were lost before an answer, and C-ECHO failed: {dead.what}"
                self._losses = SUSPICIOUS - 1  # an instance that it stores also shows that it is alive
                raise NodeError(self.node, what) from None

    def _associated(self, contexts: Sequence[Context]) -> Association:
        """Return an association on which these contexts were proposed."""
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


def _batches(ready: Sequence[Outgoing]) -> Iterator[tuple[list[Context], list[Outgoing]]]:
    """Group instances so that one association can propose all contexts of each group."""
    alike: dict[tuple[Context, ...], list[Outgoing]] = {}
    for each in ready:
        alike.setdefault(each.contexts, []).append(each)
    proposed: dict[Context, None] = {}
    some = set[tuple[Context, ...]]()
    for contexts in (*alike, ()):
        both = dict.fromkeys([*proposed, *contexts])
        if some and (not contexts or len(both) > MOST_CONTEXTS):
            yield [*proposed], [each for each in ready if each.contexts in some]
            both, some = dict.fromkeys(contexts), set()
        proposed = both
        some.add(contexts)


def _not_sent(instance: Instance, message: str, *, retry: bool = False) -> Sent:
    return Sent(instance.SOPInstanceUID, None, retry, message)


def _stored(association: Association, message_id: int, each: Outgoing, throttle: "_Throttle") -> Sent:
    """Send one C-STORE (PS3.7 9.1.1). Raises Unfit before anything is sent; later Changed or WireError."""
    uid = each.instance.SOPInstanceUID
    for context in each.contexts:
        syntax = context.transfer_syntaxes[0]
        context_id = association.contexts.get((context.abstract_syntax, syntax))
        if context_id is not None:
            break
    else:
        return _not_sent(each.instance, REFUSED)
    command: wire.Command = {
        wire.AFFECTED_SOP_CLASS: context.abstract_syntax.encode(),
        wire.COMMAND_FIELD: wire.C_STORE_RQ,
        wire.MESSAGE_ID: message_id,
        wire.PRIORITY: 0,
        wire.DATA_SET_TYPE: wire.HAS_DATA_SET,
        wire.AFFECTED_SOP_INSTANCE: uid.encode(),
    }
    with opened(each, syntax) as file:
        _write(association, context_id, wire.command_set(command), file, throttle)
        answer = association.answer(context_id, message_id, wire.C_STORE_RSP)
        # `sendfile` may have sent the file as it is now, not as it was at the call.
        file.check()
    if (answer.get(wire.AFFECTED_SOP_INSTANCE) or uid.encode()) != uid.encode():
        raise wire.WireError("the peer answered for another instance")
    status = wire.number(answer, wire.STATUS)
    return Sent(uid, status, status >> 8 == 0xA7 or status == 0x0213, _words(status))


def _words(status: int) -> str | None:
    return f"{words(status, STORE)} ({status:04X})" if status else None


def _write(association: Association, context_id: int, command: bytes, file: File, throttle: "_Throttle") -> None:
    """Write a message as PDUs. Raises Changed, Lost."""
    over, maximum_length = association.wire, association.maximum_length
    fragment = wire.longest_fragment(maximum_length)
    head = wire.message(context_id, command, maximum_length)
    plain = not isinstance(over.connection, ssl.SSLSocket) and throttle.rate is None
    if plain and fragment >= LARGE and file.size % 2 == 0 and file.span is not None:
        _write_by_the_system(over, context_id, head, file, file.span, fragment)
        return
    for block in _blocks(file, context_id, head, fragment):
        for piece in throttle.pieces(block):
            over.write(piece)


def _write_by_the_system(over: wire.Wire, context_id: int, head: bytes, file: File, span: Span, fragment: int) -> None:
    """Write a data set in large fragments by `sendfile`. Raises Changed, Lost."""
    for offset in range(0, span.size, fragment):
        length = min(fragment, span.size - offset)
        last = wire.LAST if offset + length == span.size else 0
        over.write(head + wire.HEAD.pack(wire.P_DATA, length + 6) + wire.ITEM.pack(length + 2, context_id, last))
        for at in range(offset, offset + length, BLOCK):
            file.check()
            try:
                over.write_file(file.descriptor, span.start + at, min(BLOCK, offset + length - at))
            except EOFError:
                raise Changed from None
        head = b""


def _blocks(file: File, context_id: int, head: bytes, fragment: int) -> Iterator[bytes]:
    """Yield PDUs in few large pieces: one more copy of the bytes is cheaper than a write for each fragment."""
    parts: list[bytes | memoryview] = [head]
    left = file.size
    for chunk in file.chunks(max(BLOCK // fragment, 1) * fragment):
        data = memoryview(chunk)
        for at in range(0, len(data), fragment):
            piece: bytes | memoryview = data[at : at + fragment]
            left -= len(piece)
            if len(piece) % 2:
                # A deflated data set of odd length is padded (PS3.5 A.5).
                piece = bytes(piece) + b"\0"
            parts += [wire.p_data(context_id, 0 if left else wire.LAST, piece), piece]
        yield b"".join(parts)
        parts.clear()


class _Throttle:
    """Limits the rate of bytes, in pieces of a tenth of a second. Without a rate it does nothing."""

    def __init__(self, rate: float | None) -> None:
        self.rate, self.free = rate, time.monotonic()

    def pieces(self, data: bytes) -> Iterator[bytes | memoryview]:
        """Yield the data piece by piece, each when it is due."""
        if self.rate is None:
            yield data
            return
        size = max(int(self.rate / 10), 1)
        for start in range(0, len(data), size):
            piece = memoryview(data)[start : start + size]
            time.sleep(max(self.free - time.monotonic(), 0))
            self.free = max(self.free, time.monotonic()) + len(piece) / self.rate
            yield piece
