"""Reading fast gives what reading carefully gives, whatever was read before: files remembered change no value."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from pyconquest_rules.dicom import tag_path
from pyconquest_rules.index.dicom_sql import parse, standard_text
from pyconquest_rules.index.header import Header, Reader, Reason, Rejected, Wanted
from pyconquest_rules.index.layouts import Found, Layouts, Odd
from pyconquest_rules.index.rows import wanted
from pyconquest_rules.index.tables import schema

# What every index wants, and what is read in other ways: items, private creators, values whose VR depends on others.
MORE = (
    *("SpecificCharacterSet", "SmallestImagePixelValue", "PixelRepresentation", "0008,0000", "0009,1010"),
    *("ReferencedImageSequence[0].ReferencedSOPInstanceUID", "ReferencedImageSequence[*].ReferencedSOPClassUID"),
    *('0019,"GEMS_ACQU_01",02', '0029,"SIEMENS CSA HEADER",08', '2005,"Philips MR Imaging DD 001",0E'),
)
STANDARD = Wanted(wanted(schema(parse(standard_text()))))
WANTED = (STANDARD, Wanted((*STANDARD.paths, *map(tag_path, MORE))))


class Careful(Layouts):
    """Leaves everything to the careful way."""

    def read(self, *_: object) -> Found:
        raise Odd


def careful(wanted: Wanted) -> Reader:
    reader = Reader(wanted)
    reader._layouts = Careful(wanted.paths, wanted.tags, (0, 0))
    return reader


def outcome(reader: Reader, path: Path) -> Header | Reason:
    try:
        return reader.read(path)
    except Rejected as rejected:
        return rejected.reason


@pytest.fixture(scope="module")
def files(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The corpus, the files that pydicom ships, and thousands that were made of them by changing bytes."""
    shipped = Path(pydicom.__file__).parent / "data"
    real = [path for folder in (shared / "corpus", shipped) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [*real, *mutants(real, tmp_path_factory.mktemp("mutants"))]


def mutants(real: list[Path], folder: Path) -> Iterator[Path]:
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


def mutant(data: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, most of them in the header; a piece left out, doubled or cut off at the end."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = min(int(chance.expovariate(1 / 1500)) + 120, len(changed) - 1)
        if at < 0:
            break
        match chance.randrange(5):
            case 0:
                del changed[at:]
            case 1:
                del changed[at : at + chance.choice((1, 2, 4, 8, 30))]
            case 2:
                changed[at:at] = changed[at : at + chance.choice((2, 4, 8, 30))]
            case 3:
                changed[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\x00\xe0", b"\x08\0\x05\0"))
            case _:
                changed[at] = chance.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("asked", WANTED, ids=["standard", "more"])
def test_fast_is_as_careful_in_any_order(files: list[Path], asked: Wanted) -> None:
    alone = careful(asked)
    expected = {path: outcome(alone, path) for path in files}
    assert sum(isinstance(found, Header) for found in expected.values()) > 2000
    for seed in range(2):
        reader, order = Reader(asked), files.copy()
        if seed:  # first as they lie, where files of a series follow each other
            random.Random(seed).shuffle(order)
        different = [path for path in order if outcome(reader, path) != expected[path]]
        assert different == []
