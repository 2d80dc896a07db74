"""Find DCMTK's programs, ignoring other programs with the same names."""

from bench.dcmtk import dcmtk as found
from tests.conftest import needs


def dcmtk(name: str) -> str:
    """Return the path of a program of DCMTK; skip the test if it is missing."""
    path = found(name)
    needs(f"DCMTK's {name}", path is not None)
    return str(path)
