"""Why an archive, or a member of one, cannot be read."""

from enum import StrEnum


class Flaw(StrEnum):
    """Why an archive or a member is rejected."""

    BOMB = "archive-bomb"
    DAMAGED_ARCHIVE = "damaged-archive"
    DAMAGED = "damaged-member"
    DOUBLED = "doubled-name"
    ENCRYPTED = "encrypted"
    TOO_DEEP = "nested-archive"
    NOT_REGULAR = "not-regular"
    OVERLAPPING = "overlapping"
    TOO_MANY = "too-many-members"
    UNSAFE_NAME = "unsafe-name"
    UNSUPPORTED = "unsupported-compression"


class Flawed(Exception):
    """An archive or a member cannot be read. The error has the flaw, and no text of the archive."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw = flaw


class NotAnArchive(Exception):
    """A file has the name of an archive, but not its content."""


class Budget:
    """The number of bytes that an archive may be inflated to.

    An archive of real instances inflates to a few times its size. A few kilobytes of a bomb would keep a processor busy for
    days. Raises Flawed when both limits are exceeded.
    """

    MOST, RATIO = 4 << 30, 100

    def __init__(self, packed: int) -> None:
        """`packed` is the size of the archive."""
        self.most, self.spent = max(self.MOST, self.RATIO * packed), 0

    def spend(self, size: int) -> None:
        """Count inflated bytes. Raises Flawed if there are too many."""
        self.spent += size
        if self.spent > self.most:
            raise Flawed(Flaw.BOMB)

    def renew(self) -> None:
        """Begin again: the next member has the whole budget."""
        self.spent = 0
