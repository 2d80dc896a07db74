"""What the methods of pyconquest refuse, and why."""

from pyconquest_rules.errors import Error


class Refused(Error):
    """A method that changes files in place."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} changes files in place, which this package never does; change a copy with pydicom instead")


class NotSent(Error):
    """A node does not have all that was to be sent; the log says which, and why."""

    exit_code = 1

    def __init__(self, failed: int, number: int) -> None:
        super().__init__(f"{failed} of {number} instances were not sent; the log says why")


class Conflict(Error):
    """Other bytes stand where a file should go, or other bytes are known by its SOPInstanceUID."""

    exit_code = 1


class NotCopied(Error):
    """A file could not be brought to its destination."""

    exit_code = 1
