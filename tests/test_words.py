"""The README, the docs and the help texts have no phrases that a native technical writer would not use."""

import re

import pytest

from tests.conftest import REPOSITORY

BANNED = re.compile(
    r"\b(is told|are told|mends?|mended|nought|shall go|unwell|wish(es|ed)?|by far|mistakes?|doer|rots?|the run cannot go on"
    r"|stands there|is no file|must be there)\b",
    re.IGNORECASE,
)
# `docs/cli.md` has every help text; `tests/test_docs.py` checks that it is up to date.
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{page.name}" for page in (REPOSITORY / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_has_no_banned_phrase(page: str) -> None:
    lines = (REPOSITORY / page).read_text(encoding="utf-8").splitlines()
    assert [f"{number}: {line}" for number, line in enumerate(lines, 1) if BANNED.search(line)] == []
