"""The header readers do the same task: pydicom's side makes the texts that ours gives."""

import json
from pathlib import Path

import pytest

from bench import readers
from tests.conftest import REPOSITORY

DATA = REPOSITORY / "examples" / "quickstart" / "data"


@pytest.fixture
def wanted(tmp_path: Path) -> str:
    file = tmp_path / "wanted.json"
    file.write_text(json.dumps(readers.main("wanted")), encoding="utf-8")
    return str(file)


def test_pydicom_makes_the_texts_that_ours_gives(wanted: str) -> None:
    ours, theirs = (readers.main("texts", reader, wanted, str(DATA)) for reader in ("ours", "pydicom"))
    assert ours == theirs
    assert isinstance(ours, list)
    assert (len(ours), ours.count(None)) == (22, 1)


@pytest.mark.parametrize("reader", ["ours", "pydicom", "pydicom-untouched"])
def test_a_reader_says_what_the_reading_alone_cost(reader: str, wanted: str) -> None:
    took = readers.main("time", reader, wanted, str(DATA))
    assert isinstance(took, dict)
    assert took["files"] == 22
    assert took["cpu"] > 0
    assert took["wall"] > 0


def test_other_texts_have_another_digest() -> None:
    assert readers.digest(["CT", None, ("1", None)]) == readers.digest(["CT ", "", ("1", "")])
    assert readers.digest(["CT", None]) != readers.digest(["MR", None])
