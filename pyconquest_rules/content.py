"""What is delivered: the bytes of a file as they are, what a recipe makes of them, or a file that is made of many.

Whoever delivers a content does not know which of them it is.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, NamedTuple, Protocol, TypeAlias

# The range of an integer column of SQLite.
EARLIEST, LATEST = -(2**63), 2**63 - 1


class Stamp(NamedTuple):
    """Identifies a file without reading it: size in bytes, mtime in nanoseconds."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        """Return the stamp of a file, with an mtime that SQLite can hold: a file system may have one far after 2262."""
        return cls(status.st_size, min(max(EARLIEST, status.st_mtime_ns), LATEST))


class NotTransformed(Exception):
    """Why a recipe makes nothing of an instance, without a value of a patient."""


class Recipe(Protocol):
    """Makes the bytes that are delivered from those of a file: the same from the same, in every run and on every machine."""

    name: str
    """The name by which the rules know it. A plan that was saved finds it again by that name."""

    def write(self, source: int, target: int) -> None:
        """Write what is made of a file to another one; both are open descriptors, at their beginnings.

        Raises NotTransformed, after which the target is of no use.
        """

    def uid(self, uid: str) -> str:
        """Return the UID that stands in the delivered bytes in place of another one, or the same if it stays."""


class Part(NamedTuple):
    """One of the contents that a file is made of, or about: its name there, and the instance that it is of.

    `action` is the one that delivers it, if the file is about what other actions deliver; `name` is its destination then.
    """

    name: str
    SOPInstanceUID: str
    content: "Content"
    action: str = ""


PACKED = Struct(">32s32sQ")
"""A part as it is in a file: the SHA-256 of its source, that of its bytes, and their number."""


class Assembler(ABC):
    """Makes a file of many contents: the same bytes from the same parts, in every run and on every machine."""

    name: str
    """The name by which the rules know it. A plan that was saved finds it again by that name."""

    @abstractmethod
    def assemble(self, identity: str, parts: Iterator[Part], target: int) -> bytes | None:
        """Write a file to an empty one, which is open for reading and writing.

        Return PACKED of each part, one after the other; the ledger records the parts with them. Return None if the file does not
        have the bytes of its parts. `identity` is the one that the file was requested with. Raises NotTransformed, Changed,
        OSError. May be called by several threads, each with a file of its own.
        """

    def uid(self, uid: str) -> str:
        """Return the UID that is delivered in place of another one: the same."""
        return uid


class Applied(NamedTuple):
    """A recipe as it is applied to one instance, or an assembler as it makes one file.

    `identity` changes whenever the delivered bytes may.
    """

    recipe: Recipe | Assembler
    identity: str


@dataclass(frozen=True, slots=True)
class Verbatim:
    """The bytes of `source` as they are."""

    source: bytes
    stamp: Stamp

    @property
    def size(self) -> int:
        """The number of bytes that are delivered."""
        return self.stamp.size

    def uid(self, uid: str) -> str:
        """Return the UID that is delivered in place of another one: the same."""
        return uid


@dataclass(frozen=True, slots=True)
class Transformed:
    """What a recipe makes of the bytes of `source`. Its size is known once it is made."""

    source: bytes
    stamp: Stamp
    recipe: Recipe

    def uid(self, uid: str) -> str:
        """Return the UID that is delivered in place of another one."""
        return self.recipe.uid(uid)


@dataclass(frozen=True, slots=True)
class Assembled:
    """A file that an assembler makes of parts.

    The `stamp` has the size of all parts; its other number changes whenever a part is added, removed or changed. `parts` yields
    them by name, and may be called by any thread.
    """

    source: ClassVar[bytes] = b""
    stamp: Stamp
    assembler: Assembler
    identity: str
    parts: Callable[[], Iterator[Part]]

    def uid(self, uid: str) -> str:
        """Return the UID that is delivered in place of another one: the same."""
        return uid


OfInstance: TypeAlias = Verbatim | Transformed
"""What is delivered of one instance."""

Content: TypeAlias = Verbatim | Transformed | Assembled
