"""Converting between implicit and explicit VR little endian: pydicom and DCMTK read the same values, or it is rejected."""

import os
import subprocess
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from pyconquest_rules.headers.elements import Window
from pyconquest_rules.headers.sendable import Unsendable, sendable
from pyconquest_rules.headers.transcoding import Span, transcoded
from tests.network.raw_files import CT, EXPLICIT, IMPLICIT, element, instance, meta, sequence

OTHER = {IMPLICIT: EXPLICIT, EXPLICIT: IMPLICIT}


def converted(file: Path) -> tuple[str, bytes]:
    """Return the other encoding of a file, and its data set in that encoding."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        place = sendable(descriptor, {})
        other = OTHER[place.syntax]
        window, explicit = Window(b"", place.start + place.size, descriptor), other == EXPLICIT
        parts = transcoded(window, place.start, place.size, explicit=explicit)
        data = [os.pread(descriptor, part.size, part.start) if isinstance(part, Span) else bytes(part) for part in parts]
        return other, b"".join(data)
    finally:
        os.close(descriptor)


def written(file: Path, syntax: str, data: bytes) -> Path:
    file.write_bytes(meta("1.2.3", syntax) + data)
    return file


def values(dataset: Dataset) -> list[object]:
    """Return the bytes of all values by tag, without group lengths and values that pydicom always decodes."""
    found = list[object]()
    for tag in sorted(tag for tag in dataset._dict if tag.element and not tag.is_private and tag != 0x00280103):
        raw = dataset.get_item(tag)
        if raw.VR in (None, "SQ", "UN") and dataset[tag].VR == "SQ":
            found.append((int(tag), [*map(values, dataset[tag].value or ())]))
        else:
            found.append((int(tag), (raw.value if isinstance(raw, RawDataElement) else str(raw.value or "").encode()) or b""))
    return found


def read(data: bytes | Path) -> list[object]:
    with pydicom.config.disable_value_validation():
        return values(pydicom.dcmread(BytesIO(data) if isinstance(data, bytes) else data, force=True))


def rich(explicit: bool, *, undefined: bool) -> bytes:
    """Return a data set with one element of each kind that differs between the two encodings."""

    def e(tag: int, vr: str, value: bytes | str = b"") -> bytes:
        return element(tag, vr, value, explicit)

    signed = e(0x00280103, "US", b"\1\0") + e(0x00280106, "SS", b"\xff\xff")
    inner = e(0x00080100, "SH", "C1") + e(0x00080104, "LO", "Meaning") + e(0x00081190, "UR", "http://x")
    deep = inner + sequence(0x00081140, [inner + signed, b"", inner], explicit, undefined=undefined)
    return b"".join(
        (
            e(0x00080005, "CS", "ISO_IR 192"),
            e(0x00080016, "UI", CT),
            e(0x00080018, "UI", "1.2.3"),
            e(0x00080060, "CS", "CT"),
            sequence(0x00081110, [deep, b"", deep], explicit, undefined=undefined),
            sequence(0x00082218, [], explicit, undefined=undefined),
            e(0x00090010, "LO", "PRIVATE"),
            e(0x00091001, "UN", b"\1\2\3\4"),
            e(0x00091002, "UN", bytes(range(256)) * 300),
            e(0x00100010, "PN", "A^B"),
            e(0x00189810, "SS", b"\xff\xff"),
            e(0x00200032, "DS", "1\\2\\3"),
            e(0x00280002, "US", b"\1\0"),
            e(0x00280010, "US", b"\4\0"),
            e(0x00280011, "US", b"\4\0"),
            e(0x00280100, "US", b"\x10\0"),
            signed,
            e(0x00281201, "OW", bytes(512)),
            e(0x00400244, "DA", "20240101"),
            e(0x60003000, "OW", bytes(64)),
            e(0x7FE00010, "OW", os.urandom(9000)),
        )
    )


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_every_value_stays_and_the_way_back_gives_the_same_bytes(tmp_path: Path, syntax: str, undefined: bool) -> None:
    data = rich(syntax == EXPLICIT, undefined=undefined)
    file = written(tmp_path / "file", syntax, data)
    other, changed = converted(file)
    again = written(tmp_path / "again", other, changed)
    assert read(again) == read(file)
    assert changed == rich(other == EXPLICIT, undefined=undefined)[:-9000] + data[-9000:]
    assert converted(again) == (syntax, data)
    # DCMTK reads the same out of both.
    subprocess.run(["dcmconv", "+ti", file, tmp_path / "theirs"], check=True)
    subprocess.run(["dcmconv", "+ti", again, tmp_path / "ours"], check=True)
    assert read(tmp_path / "ours") == read(tmp_path / "theirs")


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "rtplan.dcm",
        "rtdose.dcm",
        "reportsi.dcm",
        "nested_priv_SQ.dcm",
        "MR_small_implicit.dcm",
        "rtstruct.dcm",
        "liver_1frame.dcm",
        "priv_SQ.dcm",
        "ExplVR_LitEndNoMeta.dcm",
    ],
)
def test_files_of_pydicom(tmp_path: Path, name: str) -> None:
    from pydicom.data import get_testdata_file

    file = get_testdata_file(name, download=False)
    try:
        other, changed = converted(Path(str(file)))
    except (KeyError, Unsendable):
        return  # in another transfer syntax, or of an odd length
    assert read(written(tmp_path / "file", other, changed)) == read(Path(str(file)))
    subprocess.run(["dcmconv", "+te", tmp_path / "file", tmp_path / "ours"], check=True)
    subprocess.run(["dcmconv", "+te", str(file), tmp_path / "theirs"], check=True)
    assert read(tmp_path / "ours") == read(tmp_path / "theirs")


def test_the_good_corpus(tmp_path: Path, shared: Path) -> None:
    """Nearly every file in one of the two encodings is converted, and pydicom reads the same values."""
    refused = number = 0
    for file in sorted(path for path in (shared / "corpus").rglob("*") if path.is_file() and "bad" not in path.parts):
        try:
            other, changed = converted(file)
        except KeyError:
            continue
        except Unsendable as unsendable:
            refused += "converted" in str(unsendable)
            continue
        number += 1
        assert read(written(tmp_path / "file", other, changed)) == read(file), file
    assert number > 700
    assert number > 20 * refused


def test_a_value_that_is_too_long_for_its_vr_becomes_un(tmp_path: Path) -> None:
    """PS3.5 6.2.2: a value of 65,534 bytes keeps its VR."""
    for size, vr in ((65_534, b"DS"), (65_536, b"UN"), (100_000, b"UN"), (65_532, b"DS"), (200_000, b"UN")):
        data = instance(
            "1.2.3", explicit=False, more=element(0x30060050, "DS", b"1\\2\\" * (size // 4) + b"1 " * (size % 4 // 2), False)
        )
        file = written(tmp_path / "file", IMPLICIT, data)
        _, changed = converted(file)
        at = changed.index(b"\x06\x30\x50\x00")
        assert changed[at + 4 : at + 6] == vr
        assert changed[at + (12 if vr == b"UN" else 8) :] == data[-size:]
        assert converted(written(tmp_path / "changed", EXPLICIT, changed)) == (IMPLICIT, data)


def test_pixel_data_is_not_held_in_memory(tmp_path: Path) -> None:
    file = written(tmp_path / "file", EXPLICIT, instance("1.2.3", more=element(0x7FE00010, "OW", b"\1" * (8 << 20))))
    descriptor = os.open(file, os.O_RDONLY)
    place = sendable(descriptor, {})
    parts = transcoded(Window(b"", place.start + place.size, descriptor), place.start, place.size, explicit=False)
    os.close(descriptor)
    assert sum(part.size for part in parts if isinstance(part, Span)) == 8 << 20
    assert sum(len(part) for part in parts if not isinstance(part, Span)) < 1000


def test_a_sequence_given_as_un_is_read_as_its_items_are_written(tmp_path: Path) -> None:
    """Items with implicit VRs (PS3.5 6.2.2) or, contrary to that, explicit ones, of defined and undefined length."""
    for explicit, undefined in ((False, False), (False, True), (True, False)):
        item = element(0x00080100, "SH", "C1", explicit) + element(0x00080104, "LO", "Meaning", explicit)
        body = sequence(0x00081110, [item], undefined=undefined, vr="UN")
        _, changed = converted(written(tmp_path / "file", EXPLICIT, instance("1.2.3", more=body)))
        found = pydicom.dcmread(written(tmp_path / "changed", IMPLICIT, changed))
        assert found[0x00081110].value[0].CodeMeaning == "Meaning"


IMPOSSIBLE = {
    "a VR that PS3.6 does not have for the element": element(0x00280010, "FD", bytes(8)),
    "text where PS3.6 has a number": element(0x00280010, "LO", "512 "),
    "a number where PS3.6 has text": element(0x00200013, "SL", bytes(4)),
    "a sequence without items": element(0x00321064, "SQ", b"no items"),
    "an item that is longer than its sequence": element(0x00321064, "SQ", b"\xfe\xff\x00\xe0\x40\0\0\0" + bytes(8)),
    "an element that is longer than its item": sequence(0x00321064, [element(0x00080100, "SH", b"C1", length=40)]),
    "a VR that the Standard does not have": sequence(0x00321064, [b"\x08\0\0\1??\2\0C1"]),
    "a VR that is new": element(0x00321064, "QQ", b"12"),
    "an end that nothing began": sequence(0x00321064, [b"\xfe\xff\xdd\xe0\0\0\0\0"]),
    "a value of undefined length": element(0x00321030, "UN", b"", length=0xFFFFFFFF) + b"\xfe\xff\xdd\xe0\0\0\0\0",
}


@pytest.mark.parametrize("more", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_data_set_that_cannot_be_converted_exactly_is_rejected(tmp_path: Path, more: bytes) -> None:
    file = written(tmp_path / "file", EXPLICIT, instance("1.2.3", more=more))
    with pytest.raises(Unsendable, match=r"cannot be converted|one that the Standard does not have"):
        converted(file)
