"""What the checks of a rules file found so far."""

from pyconquest_rules.errors import MOST_TOLD, Problem


class Problems(list[Problem]):
    """Problems, in any order: they are sorted when they are shown."""

    @property
    def enough(self) -> bool:
        """Whether there are more than are shown: to find a hint for each of thousands would take minutes."""
        return len(self) > MOST_TOLD
