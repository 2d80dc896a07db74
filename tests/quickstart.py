"""The instances of the quick start."""

from pathlib import Path

from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples" / "quickstart" / "data"


def instances() -> list[Path]:
    """The files of the quick start that are instances."""
    return sorted(path for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix != ".txt")
