"""The bytes of a content: written to a file, as a file, or only their digests."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from pyconquest_rules.archives.names import is_member
from pyconquest_rules.content import Assembled, Content, Stamp, Transformed, Verbatim
from pyconquest_rules.disk import sources
from pyconquest_rules.disk.hashing import hashed, open_file
from pyconquest_rules.disk.sources import Changed


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
    with sources.opened(content.source) as source:
        match content:
            case Verbatim():
                digests = Digests.of(source.hashed(target))
            case Transformed(recipe=recipe):
                with source.as_file() as descriptor:
                    read = hashed(descriptor)
                    os.lseek(descriptor, 0, os.SEEK_SET)
                    recipe.write(descriptor, target)
                os.lseek(target, 0, os.SEEK_SET)
                digests = Digests(read, hashed(target))
        if source.stamp() != content.stamp:
            raise Changed
        return digests


def has_file(content: Content) -> bool:
    """Return whether what is delivered is a file already, byte by byte."""
    return isinstance(content, Verbatim) and not is_member(content.source)


@contextmanager
def as_file(content: Content) -> Iterator[int | None]:
    """Yield a descriptor of a temporary file, which has no name, with a content; None if the content has a file of its own.

    Raises Changed, NotTransformed, OSError.
    """
    if has_file(content):
        with suppress(OSError):  # whoever opens it says why it cannot be read
            if not sources.is_unchanged(content.source, content.stamp):
                raise Changed
        yield None
    else:
        with _made(content) as (file, _):
            yield file


class Opened(NamedTuple):
    """An open file with the bytes of a content, and their number. `source` is the SHA-256 of the source if it was read before."""

    file: int
    size: int
    source: str | None


@contextmanager
def opened(content: Content) -> Iterator[Opened]:
    """Open the bytes of a content, which are made if it has no file of its own.

    Raises NotTransformed, OSError, and Changed if the source is another one, now or after it was read.
    """
    if has_file(content):
        with open_file(content.source, os.O_RDONLY) as file:
            _check(file, content.stamp)
            yield Opened(file, content.stamp.size, None)
            _check(file, content.stamp)
    else:
        with _made(content) as (file, found):
            size = os.lseek(file, 0, os.SEEK_END)
            os.lseek(file, 0, os.SEEK_SET)
            yield Opened(file, size, found.source)


def digests(content: Content) -> Digests:
    """Return the digests of a content, which is made if a recipe makes it. Raises Changed, NotTransformed, OSError."""
    match content:
        case Verbatim(source=source):
            return Digests.of(sources.digest_of(source))
        case Transformed() | Assembled():
            with _made(content) as (_, found):
                return found


@contextmanager
def _made(content: Content) -> Iterator[tuple[int, Digests]]:
    """Yield a descriptor of a temporary file, which has no name, with the bytes of a content; and its digests."""
    with tempfile.TemporaryFile(buffering=0) as file:
        yield file.fileno(), write(content, file.fileno())


def _check(source: int, stamp: Stamp) -> None:
    if Stamp.of(os.fstat(source)) != stamp:
        raise Changed
