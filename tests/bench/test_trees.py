"""The trees that the bench makes: real files with other identifiers, and nothing else changed."""

from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from bench import trees
from bench.corpus import has_corpus

IDENTIFIERS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID")


def made(kind: str, **options: bool) -> dict[str, bytes]:
    return dict(trees.files(kind, 12, 6, **options))


@pytest.fixture(params=["corpus", "pydicom"], autouse=True)
def real_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trees are made of the files of the corpus, and of those that pydicom ships."""
    if request.param == "corpus" and not has_corpus():
        pytest.skip("needs the corpus")
    if request.param == "pydicom":
        monkeypatch.setattr("bench.corpus.CORPUS", Path("none"))


@pytest.mark.parametrize("kind", trees.KINDS)
def test_the_same_arguments_give_the_same_bytes(kind: str) -> None:
    assert made(kind) == made(kind)
    assert made(kind, vary=True) == made(kind, vary=True)


@pytest.mark.parametrize("kind", trees.KINDS)
@pytest.mark.parametrize("vary", [False, True])
def test_every_file_is_an_instance_of_its_own_in_series_of_the_size_asked_for(kind: str, vary: bool) -> None:
    found = [pydicom.dcmread(BytesIO(data), stop_before_pixels=True) for data in made(kind, vary=vary).values()]
    assert [len({dataset[keyword].value for dataset in found}) for keyword in IDENTIFIERS] == [12, 2, 1, 1]


def test_nothing_but_identifiers_differs_from_the_real_file() -> None:
    for kind in trees.KINDS:
        real, copy = trees.templates(kind, pixels=True)[0], next(iter(made(kind).values()))
        original, place = b"".join(real.parts), 0
        assert len(copy) == len(original)
        for number, part in enumerate(real.parts):
            same = copy[place : place + len(part)] == part
            assert same == (number % 2 == 0)
            place += len(part)


def test_slices_of_a_varied_series_differ_as_real_ones_do() -> None:
    files = list(made("ct", vary=True).values())[:6]
    slices = [pydicom.dcmread(BytesIO(data)) for data in files]
    for keyword in ("SOPInstanceUID", "InstanceNumber", "SliceLocation", "ContentTime"):
        assert len({dataset[keyword].value for dataset in slices if keyword in dataset} or range(6)) == 6
    assert len({len(data) for data in files}) > 1


def test_without_pixels_a_file_ends_before_them() -> None:
    for data in made("mr", pixels=False).values():
        assert "PixelData" not in pydicom.dcmread(BytesIO(data))
