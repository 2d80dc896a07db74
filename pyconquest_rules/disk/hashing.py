"""SHA-256 of files."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256

BLOCK = 1 << 18


def hash_of(path: str | bytes, folder: int | None = None) -> str:
    """Return the SHA-256 of a file in hexadecimal. `path` is relative to the open `folder`. Raises OSError."""
    with open_file(path, os.O_RDONLY, folder) as file:
        return hashed(file)


def hashed(file: int, copy: int | None = None, also: Callable[[memoryview], None] | None = None) -> str:
    """Read an open file to its end, write it to the open `copy`, and return its SHA-256 in hexadecimal. Raises OSError.

    `also` gets each block that is read.
    """
    digest, block = sha256(), memoryview(bytearray(BLOCK))
    while size := os.readv(file, [block]):
        digest.update(block[:size])
        if copy is not None:
            write_all(copy, block[:size])
        if also is not None:
            also(block[:size])
    return digest.hexdigest()


@contextmanager
def open_file(path: str | bytes, flags: int, folder: int | None = None) -> Iterator[int]:
    """Open a file, and close its descriptor at the end. Raises OSError."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(target: int, block: memoryview) -> None:
    """Write a block to an open file. Raises OSError."""
    while block:
        block = block[os.write(target, block) :]
