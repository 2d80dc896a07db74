"""The problems that the checks of a rules file have found so far."""

from pyconquest_rules.errors import MOST_TOLD, Problem


class Problems(list[Problem]):
    """Problems, in any order. RulesError sorts them."""

    @property
    def enough(self) -> bool:
        """Whether there are more than are shown. Searching hints for thousands of further ones would take minutes."""
        return len(self) > MOST_TOLD
