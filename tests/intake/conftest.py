"""Fixtures of the inbox tests."""

import pytest

from tests.conftest import Workplace
from tests.intake.inboxes import RULES


@pytest.fixture
def archive(workplace: Workplace) -> Workplace:
    (workplace.folder / "archive").mkdir()
    return workplace.rules(RULES)
