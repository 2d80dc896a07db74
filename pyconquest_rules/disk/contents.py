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
    """SHA-256, in hexadecimal, of the bytes of a source and of what is delivered of it."""

    source: str
    delivered: str

    @classmethod
    def of(cls, sha256: str) -> "Digests":
        """Return the digests of bytes that are delivered as they are."""
        return cls(sha256, sha256)


def write(content: Content, target: int) -> Digests:
    """Write a content to an empty file, open for reading and writing. Raises Changed, NotTransformed, OSError."""
    if isinstance(content, Assembled):
        content.assembler.assemble(content.identity, content.parts(), target)
        os.lseek(target, 0, os.SEEK_SET)
        return Digests.of(hashed(target))
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
        if Stamp.of(os.fstat(source)) != content.stamp:
            raise Changed
        return digests


@contextmanager
def reading(content: Content) -> Iterator[int]:
    """Yield a descriptor of the bytes of a content, at their beginning.

    Raises Changed at the end of the block; NotTransformed, OSError.
    """
    match content:
        case Verbatim(source=source, stamp=stamp):
            with open_file(source, os.O_RDONLY) as file:
                yield file
                if Stamp.of(os.fstat(file)) != stamp:
                    raise Changed
        case Transformed() | Assembled():
            with transformed(content) as (file, _):
                os.lseek(file, 0, os.SEEK_SET)
                yield file


@contextmanager
def transformed(content: Content) -> Iterator[tuple[int, Digests]]:
    """Yield a descriptor of a temporary file, which has no name, with the bytes of a content; and its digests.

    Raises Changed, NotTransformed, OSError.
    """
    with tempfile.TemporaryFile(buffering=0) as file:
        yield file.fileno(), write(content, file.fileno())


def digests(content: Content) -> Digests:
    """Return the digests of a content, which is made if a recipe makes it. Raises Changed, NotTransformed, OSError."""
    match content:
        case Verbatim(source=source):
            return Digests.of(hash_of(source))
        case Transformed() | Assembled():
            with transformed(content) as (_, found):
                return found
