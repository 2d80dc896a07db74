"""The inbox finds the real encoding of a data set."""

import sqlite3
import struct
from contextlib import closing

import pydicom
import pytest

from pyconquest_rules.network.statuses import Status
from pyconquest_rules.network.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, GE_PRIVATE, IMPLICIT
from tests.conftest import Workplace
from tests.intake.inboxes import kept, put, receiving
from tests.network.raw import CT, data_set, element

JPEG, RLE, PRIVATE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5", "1.2.3.4.5"


@pytest.mark.parametrize(
    ("agreed", "how", "encapsulated", "real"),
    [
        (EXPLICIT, "explicit", False, EXPLICIT),
        (EXPLICIT, "implicit", False, IMPLICIT),
        (EXPLICIT, "big", False, BIG_ENDIAN),
        (IMPLICIT, "explicit", False, EXPLICIT),
        (IMPLICIT, "big", False, BIG_ENDIAN),
        (BIG_ENDIAN, "explicit", False, EXPLICIT),
        (BIG_ENDIAN, "implicit", False, IMPLICIT),
        (JPEG, "explicit", True, JPEG),
        (JPEG, "explicit", False, EXPLICIT),
        (RLE, "implicit", False, IMPLICIT),
        (JPEG, "big", False, BIG_ENDIAN),
        (PRIVATE, "explicit", False, PRIVATE),
        (PRIVATE, "explicit", True, PRIVATE),
        (GE_PRIVATE, "implicit", False, GE_PRIVATE),
        (DEFLATED, "deflated", False, DEFLATED),
        (EXPLICIT, "explicit", True, None),
        (IMPLICIT, "implicit", True, None),
        (JPEG, "implicit", True, None),
        (PRIVATE, "implicit", False, None),
        (PRIVATE, "big", False, None),
        (EXPLICIT, "deflated", False, None),
        (DEFLATED, "explicit", False, None),
    ],
)
def test_a_file_has_the_real_transfer_syntax_of_its_data_set(
    agreed: str, how: str, encapsulated: bool, real: str | None, archive: Workplace
) -> None:
    data = data_set("1.2.9", how, encapsulated=encapsulated)
    with receiving(archive) as inbox:
        status, said, _ = put(inbox, "1.2.9", data, agreed)
    if real is None:
        assert status == Status.CANNOT_UNDERSTAND
        assert said
        assert archive.files("archive") == {}
        return
    file = archive.folder / "archive/P1/1.2.9.dcm"
    assert status == 0
    assert kept(file) == data
    meta = pydicom.dcmread(file, stop_before_pixels=True).file_meta
    assert meta.TransferSyntaxUID == real
    assert (real in said) == (real != agreed)
    with closing(sqlite3.connect(archive.folder / "conquest.db")) as connection:
        assert connection.execute("SELECT TransferSyntaxUID FROM rules_files").fetchall() == [(real,)]
    assert archive.run("index", "--json").summary["unchanged"] == 1


def test_finds_pixel_data_after_large_headers_and_nested_pixel_data(archive: Workplace) -> None:
    icon = struct.pack("<HHI", 0xFFFE, 0xE000, 20) + element(0x7FE00010, "OW", b"12345678")
    before = data_set("1.2.9", pixels=None)
    with receiving(archive) as inbox:
        long = before + element(0x00291010, "OB", bytes(100_000)) + element(0x7FE00010, "OW", bytes(64))
        assert put(inbox, "1.2.9", long, JPEG)[1].startswith(f"stored as {EXPLICIT}")
        nested = data_set("1.2.10", pixels=None) + element(0x00880200, "SQ", icon)
        compressed = nested + data_set("1.2.10", encapsulated=True)[len(data_set("1.2.10", pixels=None)) :]
        assert put(inbox, "1.2.10", compressed, JPEG) == (0, "", False)
        assert put(inbox, "1.2.10", compressed, EXPLICIT)[0] == Status.CANNOT_UNDERSTAND


def test_leaves_out_file_meta_information_in_a_data_set(archive: Workplace) -> None:
    data = data_set("1.2.9")
    inside = element(0x00020002, "UI", CT) + element(0x00020010, "UI", EXPLICIT)
    with receiving(archive) as inbox:
        status, note, _ = put(inbox, "1.2.9", inside + data)
        assert (status, note) == (0, "the file meta information in its data set was left out")
        assert put(inbox, "1.2.9", data) == (0, "", True)
    assert kept(archive.folder / "archive/P1/1.2.9.dcm") == data
