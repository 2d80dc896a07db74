"""Read a source: a file, or a member of an archive. Only this module knows which of the two it is."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, Protocol

from pyconquest_rules.archives.archive import Archive
from pyconquest_rules.archives.blocks import blocks
from pyconquest_rules.archives.flaws import Flaw, Flawed, NotAnArchive
from pyconquest_rules.archives.members import Member
from pyconquest_rules.archives.names import divided, is_member
from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.hashing import hashed, open_file, write_all
from pyconquest_rules.headers.header import Header, Reader, Spoiled
from pyconquest_rules.headers.opening import Reason, Rejected

OPEN = 4  # archives that stay open


class Changed(Exception):
    """A source is not the file that the plan saw."""

    def __str__(self) -> str:
        return "the source changed since it was indexed; run again"


class Damaged(Changed):
    """A member of an archive cannot be read."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw = flaw

    def __str__(self) -> str:
        return f"the source cannot be read from its archive ({self.flaw})"


class Source(Protocol):
    """An open source."""

    def hashed(self, copy: int | None = None) -> str:
        """Read it to its end, write it to the open file `copy`, and return its SHA-256. Raises Damaged, OSError."""

    def stamp(self) -> Stamp:
        """Return its stamp. Raises OSError."""

    def as_file(self) -> AbstractContextManager[int]:
        """Return a descriptor of a file with its bytes, at its beginning. Raises Damaged, OSError."""


class _File(NamedTuple):
    descriptor: int

    def hashed(self, copy: int | None = None) -> str:
        return hashed(self.descriptor, copy)

    def stamp(self) -> Stamp:
        return Stamp.of(os.fstat(self.descriptor))

    def as_file(self) -> AbstractContextManager[int]:
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return nullcontext(self.descriptor)


class _Member(NamedTuple):
    """A member has the time of its archive."""

    archive: Archive
    member: Member

    def hashed(self, copy: int | None = None) -> str:
        digest = sha256()
        with _explained():
            for block in blocks(self.member.bytes(), self.member.size, self.member.crc):
                digest.update(block)
                if copy is not None:
                    write_all(copy, memoryview(block))
        return digest.hexdigest()

    def stamp(self) -> Stamp:
        return Stamp(self.member.size, Stamp.of(self.archive.status()).mtime_ns)

    @contextmanager
    def as_file(self) -> Iterator[int]:
        with tempfile.TemporaryFile(buffering=0) as file:  # it has no name
            self.hashed(file.fileno())
            file.seek(0)
            yield file.fileno()


@contextmanager
def opened(source: bytes) -> Iterator[Source]:
    """Open a source. Raises Damaged, OSError."""
    if is_member(source):
        with _found(source) as (archive, member):
            yield _Member(archive, member)
    else:
        with open_file(source, os.O_RDONLY | os.O_NONBLOCK) as descriptor:  # opening a FIFO would wait for a writer
            yield _File(descriptor)


@contextmanager
def read_from(source: bytes) -> Iterator[int]:
    """Yield a descriptor of a file with the bytes of a source, at its beginning. Raises Damaged, OSError."""
    with opened(source) as open_source, open_source.as_file() as descriptor:
        yield descriptor


def header_of(source: bytes, reader: Reader) -> Header:
    """Return the header of a source. Raises Rejected, which is Spoiled for a member that cannot be read."""
    if not is_member(source):
        return reader.read(source)
    try:
        with _found(source) as (_, member):
            return reader.read_member(member.bytes(), member.size)
    except Damaged as damaged:
        rejected: Rejected = Spoiled(damaged.flaw)
    except OSError:
        rejected = Rejected(Reason.UNREADABLE)
    raise rejected


def digest_of(source: bytes) -> str:
    """Return the SHA-256 of a source in hexadecimal. Raises Damaged, OSError."""
    with opened(source) as open_source:
        return open_source.hashed()


def is_unchanged(source: bytes, stamp: Stamp) -> bool:
    """Return whether a source still has a stamp, as far as that can be seen without reading it. Raises OSError."""
    file, names = divided(source)
    now = Stamp.of(os.stat(file))
    return now.mtime_ns == stamp.mtime_ns if names else now == stamp


@contextmanager
def _found(source: bytes) -> Iterator[tuple[Archive, Member]]:
    """Find a member. While a member is read that shares a stream with others, others wait. Raises Damaged, OSError."""
    file, names = divided(source)
    archive = _open(file)
    with _explained():
        try:
            with archive.lock:
                member = archive.find(names)
        except FileNotFoundError as error:
            raise FileNotFoundError(error.errno, os.strerror(error.errno or 0), source) from None
    with archive.lock if member.shared else nullcontext():
        yield archive, member


def _open(file: bytes) -> Archive:
    """Return an open archive: the same as before, if the file is."""
    status = os.stat(file)
    return _archive(file, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(OPEN)
def _archive(file: bytes, _status: tuple[int, ...]) -> Archive:
    return Archive(file)


@contextmanager
def _explained() -> Iterator[None]:
    """Raise Damaged for what is wrong with an archive."""
    try:
        yield
    except NotAnArchive:
        raise Damaged(Flaw.DAMAGED_ARCHIVE) from None
    except Flawed as flawed:
        raise Damaged(flawed.flaw) from None
