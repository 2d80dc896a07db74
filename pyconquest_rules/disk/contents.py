"""The bytes of a content: written to a file, as a temporary file, or only their digests."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from pyconquest_rules.archives.names import is_member
from pyconquest_rules.content import Content, Transformed, Verbatim
from pyconquest_rules.disk.hashing import hashed
from pyconquest_rules.disk.sources import Changed, digest_of, is_unchanged, opened


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
    with opened(content.source) as source:
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
            if not is_unchanged(content.source, content.stamp):
                raise Changed
        yield None
        return
    with tempfile.TemporaryFile(buffering=0) as file:
        write(content, file.fileno())
        yield file.fileno()


def digests(content: Content) -> Digests:
    """Return the digests of a content, which is made if a recipe makes it. Raises Changed, NotTransformed, OSError."""
    match content:
        case Verbatim(source=source):
            return Digests.of(digest_of(source))
        case Transformed():
            with tempfile.TemporaryFile(buffering=0) as file:
                return write(content, file.fileno())
