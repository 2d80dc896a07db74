"""What an archive has: its members, in its order."""

from collections.abc import Callable
from typing import NamedTuple

from pyconquest_rules.archives.blocks import Bytes
from pyconquest_rules.archives.flaws import Flaw, Flawed

MOST = 1_000_000
"""The limit on the members of an archive."""


class Member(NamedTuple):
    """A member of an archive: its name, its size, and the flaw that makes it useless, if it has one.

    `open` gives its bytes; `crc` is their checksum, if the archive has one. `shared`: its bytes come from a stream that all
    members share, so that one of them is read at a time.
    """

    name: bytes
    size: int
    open: Callable[[], Bytes] | None = None
    flaw: Flaw | None = None
    crc: int | None = None
    shared: bool = False

    def bytes(self) -> Bytes:
        """Return the bytes. Raises Flawed if the member has a flaw."""
        if self.flaw is not None or self.open is None:
            raise Flawed(self.flaw or Flaw.DAMAGED)
        return self.open()
