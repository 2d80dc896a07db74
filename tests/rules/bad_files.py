"""The invalid rules files of the folder bad/, and what `check` prints for them."""

from pathlib import Path

from tests.conftest import Workplace

BAD = Path(__file__).parent / "bad"


def said(rules: Path) -> str:
    """Return what `check` prints, run in the folder of the rules file."""
    done = Workplace(rules.parent).run("-f", rules.name, "check")
    assert (done.code, done.out) == (2, "")
    return done.err
