"""Several files of one instance: which of them is indexed, and the outcomes of the others."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pyconquest_rules.archives.names import is_member
from pyconquest_rules.disk.sources import Changed, digest_of
from pyconquest_rules.index.store.order import OnConflict

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a file: `indexed | duplicate | rejected | skipped`, and the reason (for indexed files: the notes)."""

    outcome: str
    reason: str | None = None


class Claim(NamedTuple):
    """A file that has an instance: the name, number, device and root of its source, its path below the root, and its mtime."""

    source: str
    rank: int
    device: str
    root: str
    path: bytes
    mtime_ns: int

    @property
    def whole(self) -> bytes:
        """The absolute path."""
        return os.path.join(os.fsencode(self.root), self.path)


CLAIMS = """
SELECT s.name, s.rank, f.device, s.path, CAST(f.path AS BLOB), f.mtime_ns
FROM rules_files AS f JOIN rules_sources AS s USING (device) WHERE f.SOPInstanceUID = ?
"""
INDEXED_CLAIM = f"{CLAIMS} AND f.outcome = 'indexed'"


@dataclass(frozen=True, slots=True)
class Contest:
    """The rule that decides which of several files of an instance is indexed.

    `chosen` has the source and path that a user chose, by SOPInstanceUID.
    """

    on_conflict: OnConflict
    chosen: Mapping[str, tuple[str, bytes]]

    def key(self, uid: str, claim: Claim) -> tuple[bool, int, bool, int, bytes]:
        """Return the sort key of a file of an instance. The first file is indexed; members of archives come last."""
        newest = -claim.mtime_ns if self.on_conflict is OnConflict.NEWEST else 0
        return not self._is_chosen(uid, claim), newest, is_member(claim.path), claim.rank, claim.path

    def outcome(self, uid: str, indexed: Claim, other: Claim) -> Outcome:
        """Return the outcome of another file of an instance, given the one that is indexed. It compares their bytes."""
        if same_bytes(indexed.whole, other.whole):
            return Outcome("duplicate", "same-bytes")
        if self.on_conflict is OnConflict.ERROR and not self._is_chosen(uid, indexed):
            return Outcome("rejected", "conflict")
        return Outcome("duplicate", "superseded")

    def _is_chosen(self, uid: str, claim: Claim) -> bool:
        return self.chosen.get(uid) == (claim.source, claim.path)


def same_bytes(first: bytes, second: bytes) -> bool:
    """Return whether two files have the same bytes; False if one of them cannot be read."""
    try:
        if is_member(first) or is_member(second):
            return digest_of(first) == digest_of(second)
        if os.stat(first).st_size != os.stat(second).st_size:
            return False
        with open(first, "rb") as one, open(second, "rb") as other:
            while (block := one.read(BLOCK)) == other.read(BLOCK):
                if not block:
                    return True
            return False
    except (Changed, OSError):
        return False
