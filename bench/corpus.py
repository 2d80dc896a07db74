"""Where the real files are: the developers' corpus beside the project, or where that is not there what pydicom ships."""

from importlib.util import find_spec
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"


def has_corpus() -> bool:
    """Whether the corpus is there."""
    return CORPUS.is_dir()


def real_files() -> Path:
    """The folder of the real files. Does not import pydicom."""
    if has_corpus():
        return CORPUS
    package = find_spec("pydicom")
    if package is None or package.origin is None:
        raise ImportError("pyconquest-rules needs pydicom")
    return Path(package.origin).parent / "data" / "test_files"
