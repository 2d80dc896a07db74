"""Read the files to send: their identity, the transfer syntaxes that they can be sent in, and their bytes."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyconquest_rules.headers.elements import Window
from pyconquest_rules.headers.sendable import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    Runs,
    Sendable,
    Unsendable,
    sendable,
)
from pyconquest_rules.headers.transcoding import Part, Span, transcoded
from pyconquest_rules.network.association import Context

UID, LONGEST_UID = re.compile(r"[0-9.]{1,64}"), 64
CHANGED = "the file changed: it is not the planned instance"
OTHER = {
    IMPLICIT_VR_LITTLE_ENDIAN: EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN: IMPLICIT_VR_LITTLE_ENDIAN,
}
"""Transfer syntaxes that can be converted into each other."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A file to send. SOP class and transfer syntax are read from it if they are None.

    `descriptor`: the bytes are those of this open file instead, which need not have a name.
    """

    path: bytes
    SOPInstanceUID: str
    SOPClassUID: str | None = None
    TransferSyntaxUID: str | None = None
    descriptor: int | None = None


class Unfit(Exception):
    """A file cannot be sent, and nothing was sent. The text is the reason."""


class Changed(Exception):
    """A file changed while it was sent, so the message cannot be completed."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An instance that can be sent: its data set, the stamp of its file, and the contexts that it can use, best first."""

    instance: Instance
    place: Sendable
    stamp: tuple[int, ...]
    contexts: tuple[Context, ...]


@dataclass(frozen=True, slots=True)
class File:
    """An open file, and the parts to send."""

    descriptor: int
    parts: tuple[Part, ...]
    size: int
    stamp: tuple[int, ...]

    @property
    def span(self) -> Span | None:
        """Return the place of the data set in the file if it is sent unchanged, else None."""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only if isinstance(only, Span) else None

    def check(self) -> None:
        """Raise Changed if the file changed since `outgoing`."""
        if _stamp(self.descriptor) != self.stamp:
            raise Changed

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield the bytes to send, in pieces of `size` bytes; the last may be shorter. Raises Changed."""
        waiting = bytearray()
        for part in self.parts:
            for piece in self._pieces(part, size, len(waiting)):
                if not waiting and len(piece) == size:
                    yield piece
                    continue
                waiting += piece
                while len(waiting) >= size:
                    yield bytes(waiting[:size])
                    del waiting[:size]
        if waiting:
            yield bytes(waiting)

    def _pieces(self, part: Part, size: int, waiting: int) -> Iterator[bytes]:
        """Yield the bytes of a part. The first piece fills up the bytes that wait."""
        if not isinstance(part, Span):
            yield bytes(part)
            return
        offset, room = 0, size - waiting
        while offset < part.size:
            length = min(room, part.size - offset)
            yield self._read(part.start + offset, length)
            offset, room = offset + length, size

    def _read(self, position: int, length: int) -> bytes:
        try:
            data = os.pread(self.descriptor, length, position)
        except OSError:
            raise Changed from None
        self.check()
        if len(data) != length:
            raise Changed
        return data


def outgoing(instance: Instance, runs: Runs, *, transcode: bool) -> Outgoing:
    """Read the file of an instance. With `transcode`, it may be sent in the other VR encoding too. `runs` is for `sendable`.

    Raises Unfit.
    """
    with _opened(instance) as descriptor:
        stamp = _stamp(descriptor)
        try:
            place = sendable(descriptor, runs)
        except Unsendable as unsendable:
            raise Unfit(str(unsendable)) from None
    for uid, what in (
        (place.sop_class, "SOP Class"),
        (place.syntax, "Transfer Syntax"),
        (instance.SOPInstanceUID, "SOP Instance"),
    ):
        if len(uid) > LONGEST_UID:
            raise Unfit(f"its {what} UID has {len(uid)} characters, more than the {LONGEST_UID} that a UID may have")
        if not UID.fullmatch(uid):
            raise Unfit(f"the file has no valid {what} UID")
    found = (place.sop_instance, place.sop_class, place.syntax)
    if found != (instance.SOPInstanceUID, instance.SOPClassUID or found[1], instance.TransferSyntaxUID or found[2]):
        raise Unfit(CHANGED)
    syntaxes = [place.syntax, *([OTHER[place.syntax]] if transcode and place.syntax in OTHER else [])]
    return Outgoing(instance, place, stamp, tuple(Context(place.sop_class, (syntax,)) for syntax in syntaxes))


@contextmanager
def opened(each: Outgoing, syntax: str) -> Iterator[File]:
    """Open the file of an instance, to send it in a transfer syntax. Raises Unfit."""
    with _opened(each.instance) as descriptor:
        if _stamp(descriptor) != each.stamp:
            raise Unfit(CHANGED)
        place = each.place
        if syntax == place.syntax:
            yield File(descriptor, (Span(place.start, place.size),), place.size, each.stamp)
            return
        window, explicit = Window(b"", place.start + place.size, descriptor), syntax == EXPLICIT_VR_LITTLE_ENDIAN
        try:
            parts = tuple(transcoded(window, place.start, place.size, explicit=explicit))
        except Unsendable as unsendable:
            raise Unfit(str(unsendable)) from None
        except OSError:
            raise Unfit("the file cannot be read") from None
        size = sum(part.size if isinstance(part, Span) else len(part) for part in parts)
        yield File(descriptor, parts, size, each.stamp)


@contextmanager
def _opened(instance: Instance) -> Iterator[int]:
    try:
        # O_NONBLOCK: a FIFO of that name must not block the batch.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(instance.path, flags) if instance.descriptor is None else os.dup(instance.descriptor)
    except FileNotFoundError:
        raise Unfit("the file is gone") from None
    except (OSError, ValueError):
        raise Unfit("the file cannot be read") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _stamp(descriptor: int) -> tuple[int, ...]:
    """Return the values that show whether a file changed."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
