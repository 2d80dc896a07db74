"""The instances of examples/quickstart."""

from pathlib import Path

from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples" / "quickstart" / "data"


def instances() -> list[Path]:
    """Return the files of examples/quickstart that are instances."""
    return sorted(path for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix != ".txt")
