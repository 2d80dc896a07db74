"""How much of the torture is done."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

T = TypeVar("T")

Some = Callable[[Sequence[T], int], Sequence[T]]


@pytest.fixture
def some(request: pytest.FixtureRequest) -> Some[T]:
    """All of what there is to be done with `--torture`, else so many that are spread over it."""

    def chosen(everything: Sequence[T], number: int) -> Sequence[T]:
        whole = request.config.getoption("torture") or len(everything) <= number
        return everything if whole else everything[:: len(everything) // number][:number]

    return chosen
