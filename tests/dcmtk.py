"""DCMTK's own programs, whatever else is called so."""

from bench.dcmtk import dcmtk as found
from tests.conftest import needs


def dcmtk(name: str) -> str:
    """The path of a program of DCMTK; without it the test is left out."""
    path = found(name)
    needs(f"DCMTK's {name}", path is not None)
    return str(path)
