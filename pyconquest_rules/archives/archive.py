"""Archives as a whole: list the members of a file, or find one of them."""

import os
from collections.abc import Iterator
from threading import RLock
from typing import Self
from weakref import finalize

from pyconquest_rules.archives import tars, zips
from pyconquest_rules.archives.blocks import Bytes, OpenFile
from pyconquest_rules.archives.flaws import Budget, Flaw, Flawed
from pyconquest_rules.archives.inflating import GZIP, GZIP_MAGIC, Inflated
from pyconquest_rules.archives.members import Member


class Listing:
    """The members of one archive, in its order. It is read once, and only as far as somebody asks."""

    def __init__(self, name: bytes, data: Bytes, size: int, budget: Budget, *, shared: bool = False) -> None:
        """`data` are the `size` bytes of the archive. `shared`: they come from a stream that other archives share."""
        self._members = _listed(name, data, size, budget, shared=shared)
        self._found = dict[bytes, Member]()

    def find(self, name: bytes) -> Member:
        """Return a member by its name. Raises Flawed, FileNotFoundError, OSError."""
        while name not in self._found:
            member = next(self._members, None)
            if member is None:
                raise FileNotFoundError
            if member.flaw is None:
                self._found[member.name] = member
        return self._found[name]


class Archive:
    """An open archive. It closes when nobody uses it any more."""

    def __init__(self, path: bytes) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._close = finalize(self, os.close, self._descriptor)
        self.lock = RLock()
        """Held by whoever looks for a member, or reads a member that shares its stream with others."""

        self._name, size = os.path.basename(path), self.status().st_size
        self._budget = Budget(size)
        self._data, self._size = OpenFile(self._descriptor), size
        self._listing: Listing | None = None
        self._inner: tuple[bytes, Listing] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def status(self) -> os.stat_result:
        """Return the status of the open file."""
        return os.fstat(self._descriptor)

    def members(self) -> Iterator[Member]:
        """Yield the members, each by the first of its names. Raises Flawed, NotAnArchive, OSError."""
        return _listed(self._name, self._data, self._size, self._budget)

    def members_of(self, member: Member, data: Bytes) -> Iterator[Member]:
        """Yield the members of an archive that is a member itself; `data` are its bytes. Raises as `members` does."""
        return _listed(member.name, data, member.size, self._budget, shared=_shares(member, data))

    def find(self, names: list[bytes]) -> Member:
        """Return a member by its name, or by the name of an inner archive and its name in that.

        Raises Flawed, NotAnArchive, FileNotFoundError, OSError. The caller has the lock.
        """
        self._budget.renew()
        if self._listing is None:
            self._listing = Listing(self._name, self._data, self._size, self._budget)
        if len(names) == 1:
            return self._listing.find(names[0])
        outer, name = names
        if self._inner is None or self._inner[0] != outer:
            member = self._listing.find(outer)
            data = member.bytes()
            self._inner = outer, Listing(outer, data, member.size, self._budget, shared=_shares(member, data))
        return self._inner[1].find(name)


def _shares(member: Member, data: Bytes) -> bool:
    """Return whether the members of a member share a stream."""
    return member.shared or isinstance(data, Inflated)


def _listed(name: bytes, data: Bytes, size: int, budget: Budget, *, shared: bool = False) -> Iterator[Member]:
    """Yield the members of an archive. The second of one name is flawed: programs differ in which of the two they mean.

    Raises Flawed, NotAnArchive, OSError.
    """
    seen = set[int]()
    try:
        for member in _members(name, data, size, budget, shared=shared):
            known = hash(member.name)
            doubled = member.flaw is None and known in seen
            seen.add(known)
            yield member._replace(flaw=Flaw.DOUBLED) if doubled else member
    except Flawed as flawed:
        raise Flawed(Flaw.DAMAGED_ARCHIVE if flawed.flaw is Flaw.DAMAGED else flawed.flaw) from None


def _members(name: bytes, data: Bytes, size: int, budget: Budget, *, shared: bool) -> Iterator[Member]:
    if name.lower().endswith(b".zip"):
        for member in zips.members(data, size, budget):
            yield member._replace(shared=shared)
    elif data.at(0, len(GZIP_MAGIC)) == GZIP_MAGIC:
        stream = Inflated(data, GZIP, budget)
        yield from tars.members(stream, None, shared=True)
        stream.finish()
    else:
        yield from tars.members(data, size, shared=shared)
