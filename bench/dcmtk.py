"""Find DCMTK's programs. pynetdicom installs scripts of the same names, which come first in an active environment."""

import os
from functools import cache
from pathlib import Path

MORE = ("/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin")


def dcmtk(name: str) -> str | None:
    """Return the path of a program of DCMTK, ignoring other programs of that name; None if it is not installed."""
    return _found(name, os.environ["PATH"])


@cache
def _found(name: str, path: str) -> str | None:
    files = (Path(folder) / name for folder in (*path.split(os.pathsep), *MORE))
    return next((str(file) for file in files if os.access(file, os.X_OK) and _is_of_dcmtk(file)), None)


def _is_of_dcmtk(file: Path) -> bool:
    """Every program of DCMTK contains the text of its version: `$dcmtk: storescp v3.6.7 2022-04-22 $`."""
    return b"$dcmtk: " in file.read_bytes()
