"""The bytes of a content: written to a file, as a temporary file, or only their digests."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple

from pyconquest_rules.content import Content, Stamp, Transformed, Verbatim

BLOCK = 1 << 18


class Changed(Exception):
    """A source is not the file that the plan saw."""


class Digests(NamedTuple):
    """SHA-256, in hexadecimal, of the bytes of a source and of what is delivered of it."""

    source: str
    delivered: str


def write(content: Content, target: int) -> Digests:
    """Write a content to an empty file, open for reading and writing. Raises Changed, NotTransformed, OSError."""
    source = os.open(content.source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        match content:
            case Verbatim():
                digest = hashed(source, target)
                digests = Digests(digest, digest)
            case Transformed(recipe=recipe):
                read = hashed(source)
                os.lseek(source, 0, os.SEEK_SET)
                recipe.write(source, target)
                os.lseek(target, 0, os.SEEK_SET)
                digests = Digests(read, hashed(target))
        if Stamp.of(os.fstat(source)) != content.stamp:
            raise Changed
        return digests
    finally:
        os.close(source)


@contextmanager
def transformed(content: Transformed) -> Iterator[tuple[int, Digests]]:
    """Yield a descriptor of a temporary file, which has no name, with what a recipe makes; and its digests.

    Raises Changed, NotTransformed, OSError.
    """
    with tempfile.TemporaryFile(buffering=0) as file:
        yield file.fileno(), write(content, file.fileno())


def digests(content: Content) -> Digests:
    """Return the digests of a content, which is made if a recipe makes it. Raises Changed, NotTransformed, OSError."""
    match content:
        case Verbatim(source=source):
            digest = hash_of(source)
            return Digests(digest, digest)
        case Transformed():
            with transformed(content) as (_, found):
                return found


def hash_of(path: str | bytes, folder: int | None = None) -> str:
    """Return the SHA-256, in hexadecimal, of a file, named from the folder with descriptor `folder`. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return hashed(file)
    finally:
        os.close(file)


def hashed(file: int, copy: int | None = None) -> str:
    """Return the SHA-256 of what is read from a descriptor; it is written to that of a copy, if there is one."""
    digest, block = sha256(), memoryview(bytearray(BLOCK))
    while size := os.readv(file, [block]):
        digest.update(block[:size])
        if copy is not None:
            _write_all(copy, block[:size])
    return digest.hexdigest()


def _write_all(target: int, block: memoryview) -> None:
    while block:
        block = block[os.write(target, block) :]
