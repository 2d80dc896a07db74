"""The bytes of a content: written to a file, as a temporary file, or only their digests."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pyconquest_rules.content import Assembled, Content, Stamp, Transformed, Verbatim
from pyconquest_rules.disk.hashing import hash_of, hashed, open_file


class Changed(Exception):
    """A source is not the file that the plan saw."""

    def __str__(self) -> str:
        return "the source changed since it was indexed; run again"


class Digests(NamedTuple):
    """SHA-256, in hexadecimal, of the bytes of a source and of what is delivered of it; `parts` as an assembler returns them."""

    source: str
    delivered: str
    parts: bytes | None = None

    @classmethod
    def of(cls, sha256: str) -> "Digests":
        """Return the digests of bytes that are delivered as they are."""
        return cls(sha256, sha256)


def write(content: Content, target: int) -> Digests:
    """Write a content to an empty file, open for reading and writing. Raises Changed, NotTransformed, OSError."""
    if isinstance(content, Assembled):
        parts = content.assembler.assemble(content.identity, content.parts(), target)
        os.lseek(target, 0, os.SEEK_SET)
        return Digests.of(hashed(target))._replace(parts=parts)
    with open_file(content.source, os.O_RDONLY) as source:
        match content:
            case Verbatim():
                digests = Digests.of(hashed(source, target))
            case Transformed(recipe=recipe):
                read = hashed(source)
                os.lseek(source, 0, os.SEEK_SET)
                recipe.write(source, target)
                os.lseek(target, 0, os.SEEK_SET)
                digests = Digests(read, hashed(target))
        _check(source, content.stamp)
        return digests


@contextmanager
def transformed(content: Content) -> Iterator[tuple[int, Digests]]:
    """Yield a descriptor of a temporary file, which has no name, with the bytes of a content; and its digests.

    Raises Changed, NotTransformed, OSError.
    """
    with tempfile.TemporaryFile(buffering=0) as file:
        yield file.fileno(), write(content, file.fileno())


class Opened(NamedTuple):
    """An open file with the bytes of a content, and their number. `source` is the SHA-256 of the source if it was read before."""

    file: int
    size: int
    source: str | None


@contextmanager
def opened(content: Content) -> Iterator[Opened]:
    """Open the bytes of a content, which is made if a recipe makes it.

    Raises NotTransformed, OSError, and Changed if the source is another one, now or after it was read.
    """
    match content:
        case Verbatim(source=source, stamp=stamp):
            with open_file(source, os.O_RDONLY) as file:
                _check(file, stamp)
                yield Opened(file, stamp.size, None)
                _check(file, stamp)
        case Transformed() | Assembled():
            with transformed(content) as (file, found):
                size = os.lseek(file, 0, os.SEEK_END)
                os.lseek(file, 0, os.SEEK_SET)
                yield Opened(file, size, found.source)


@contextmanager
def reading(content: Content) -> Iterator[int]:
    """Yield a descriptor of the bytes of a content, at their beginning.

    Raises Changed at the end of the block; NotTransformed, OSError.
    """
    with opened(content) as found:
        yield found.file


def digests(content: Content) -> Digests:
    """Return the digests of a content, which is made if a recipe makes it. Raises Changed, NotTransformed, OSError."""
    match content:
        case Verbatim(source=source):
            return Digests.of(hash_of(source))
        case Transformed() | Assembled():
            with transformed(content) as (_, found):
                return found


def _check(source: int, stamp: Stamp) -> None:
    if Stamp.of(os.fstat(source)) != stamp:
        raise Changed
