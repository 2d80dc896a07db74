"""The errors of the methods of pyconquest."""

from pyconquest_rules.errors import Error


class Refused(Error):
    """A method would change files in place."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} changes files in place, which this package never does; change a copy with pydicom instead")


class NotSent(Error):
    """A node did not store all instances. The log has the reasons."""

    exit_code = 1

    def __init__(self, failed: int, number: int) -> None:
        super().__init__(f"{failed} of {number} instances were not sent; see the log")


class Conflict(Error):
    """Another file exists at the destination, or with the same SOPInstanceUID."""

    exit_code = 1


class NotCopied(Error):
    """A file could not be copied."""

    exit_code = 1
