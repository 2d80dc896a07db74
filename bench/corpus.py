"""The folder of the real files: the developers' corpus beside the project, or else the files that pydicom ships."""

from importlib.util import find_spec
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"


def has_corpus() -> bool:
    """Return whether the developers' corpus exists."""
    return CORPUS.is_dir()


def real_files() -> Path:
    """Return the folder of the real files, without importing pydicom."""
    if has_corpus():
        return CORPUS
    package = find_spec("pydicom")
    if package is None or package.origin is None:
        raise ImportError("pyconquest-rules needs pydicom")
    return Path(package.origin).parent / "data" / "test_files"
