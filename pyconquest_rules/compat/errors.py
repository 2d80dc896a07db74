"""What the methods of pyconquest refuse, and why."""

from pyconquest_rules.errors import Error


class Refused(Error):
    """A method that changes files in place."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} changes files in place, which this package never does; change a copy instead, with pydicom or by a"
            " [transform.NAME] of a rules file"
        )


class NotBuilt(Error):
    """A method that needs the network."""

    def __init__(self, method: str) -> None:
        super().__init__(
            f"{method} comes with the network part of pyconquest_rules, which is not built yet; until then use pyconquest for it"
        )


class Conflict(Error):
    """Other bytes stand where a file should go, or other bytes are known by its SOPInstanceUID."""

    exit_code = 1


class NotCopied(Error):
    """A file could not be brought to its destination."""

    exit_code = 1
