"""The fast reader returns what the careful one returns, whatever it has read before."""

import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from pyconquest_rules.dicom import TagPath, tag_path
from pyconquest_rules.headers.header import Header, Reader, Wanted
from pyconquest_rules.headers.notes import Note
from pyconquest_rules.headers.values import BINARY
from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
from pyconquest_rules.index.store.records import records
from pyconquest_rules.index.store.schema import schema
from tests.headers.reading import as_text, bare, careful, mutant, outcome

# What every index wants, and what is read in other ways: items, private creators, values whose VR depends on others.
MORE = (
    *("SpecificCharacterSet", "SmallestImagePixelValue", "PixelRepresentation", "0008,0000", "0009,1010"),
    *("ReferencedImageSequence[0].ReferencedSOPInstanceUID", "ReferencedImageSequence[*].ReferencedSOPClassUID"),
    *('0019,"GEMS_ACQU_01",02', '0029,"SIEMENS CSA HEADER",08', '2005,"Philips MR Imaging DD 001",0E'),
)
STANDARD = records(schema(parse(standard_text()))).wanted
WANTED = (STANDARD, Wanted((*STANDARD.paths, *map(tag_path, MORE))))


@pytest.fixture(scope="module")
def real(shared: Path) -> list[Path]:
    """The corpus, and the files that pydicom ships."""
    shipped = Path(pydicom.__file__).parent / "data"
    return [path for folder in (shared / "corpus", shipped) for path in sorted(folder.rglob("*")) if path.is_file()]


@pytest.fixture(scope="module")
def mutants(real: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Thousands of files that were made from real ones by changing bytes."""
    return list(mutated(real, tmp_path_factory.mktemp("mutants")))


def mutated(real: list[Path], folder: Path) -> Iterator[Path]:
    chance = random.Random(4)
    small = [path for path in real if path.stat().st_size < 150_000]
    for number, path in enumerate(small * 4):
        with path.open("rb") as file:
            data = file.read(20_000)
        made = folder / f"{number:05}"
        made.write_bytes(mutant(data, chance))
        # What follows is not looked at, but must be there; as a hole it costs no disk.
        if chance.randrange(8):
            os.truncate(made, max(made.stat().st_size, path.stat().st_size))
        yield made


@pytest.mark.parametrize("asked", WANTED, ids=["standard", "more"])
def test_the_fast_reader_equals_the_careful_one_in_any_order(real: list[Path], mutants: list[Path], asked: Wanted) -> None:
    alone, files = careful(asked), [*real, *mutants]
    expected = {path: outcome(alone, path) for path in files}
    assert sum(isinstance(found, Header) for found in expected.values()) > 2000
    for seed in range(2):
        reader, order = Reader(asked), files.copy()
        if seed:  # first as they lie, where files of a series follow each other
            random.Random(seed).shuffle(order)
        different = [path for path in order if outcome(reader, path) != expected[path]]
        assert different == []


def test_changed_files_have_the_values_that_pydicom_reads(mutants: list[Path]) -> None:
    """Files that pydicom cannot read are ignored. It trusts the transfer syntax, and reads nothing if that was changed."""
    reader, compared = Reader(STANDARD), 0
    for path in mutants:
        header = outcome(reader, path)
        if not isinstance(header, Header) or Note.UNKNOWN_VR in header.notes or not (theirs := by_pydicom(path)):
            continue  # of VRs that are none, pydicom reads on as nobody else does
        for where, value in zip(STANDARD.paths, header.values, strict=True):
            if not where.path and (value is None or (isinstance(value, str) and len(value) < 1000)):
                assert (bare(value) or None) == (theirs.get(where) or None), (path, str(where))
        compared += 1
    assert compared > 1000


def by_pydicom(path: Path) -> dict[TagPath, str | None] | None:
    """Return the top-level values as pydicom reads them, with NULs replaced as ours; None if it cannot read the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            found = [(TagPath((), int(leaf.tag)), as_text(leaf)) for leaf in data if leaf.VR not in BINARY]
        except Exception:  # noqa: BLE001 - whatever it may be
            return None
    return {tag: bare((text or "").replace("\0", "\ufffd")) for tag, text in found} if "SOPInstanceUID" in data else None
